//! What was last seen of something outside, and whether being told of it again is news.
//!
//! Every change that a webhook announces leaves a sighting, and so does every change that the reconciler finds by itself:
//! whoever comes first starts what follows, the other one only confirms. What waits for the outside (`gate = ["ci"]`, a
//! person's word on Plane, a maintainer's label) is decided from sightings, too.

mod branches;
mod reviews;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What something outside looks like, as its sender says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What was looked at.
    pub name: SightingName,
    /// What it is now, in a form that is the same whoever says it.
    pub value: String,
    /// The same for people and conditions: names beside ids, a description.
    pub words: Vec<Word>,
    /// When the sender last changed it, by the sender's own clock.
    pub version: Option<Timestamp>,
    /// Whether Orch's own account did it.
    pub own: bool,
}

/// What may be looked at, within a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SightingName {
    /// An issue's id, `acme/shop#12`, or `acme/shop@` and a commit, in lower case.
    pub subject: String,
    /// Which side of it.
    pub aspect: Aspect,
}

/// Which side of a subject was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Aspect {
    /// That it was created.
    Created,
    /// An issue's state, by id.
    State,
    /// Its labels, by id.
    Labels,
    /// An issue's assignees, by id.
    Assignees,
    /// A pull request's newest commit.
    Head,
    /// That it was merged.
    Merged,
    /// Whether a pull request is open.
    Open,
    /// Reviews of it, by what tells them from others: how many there are ([`mod@reviews`]).
    Review(String),
    /// A branch's newest commit, by the branch's name ([`mod@branches`]).
    Branch(String),
    /// A commit's status of this context.
    Status(String),
    /// A run of tests for a commit, by its workflow.
    Run(String),
}

/// A name, with the id it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The id.
    pub id: String,
    /// What people call it, when the sender says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Who told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// A webhook.
    Webhook,
    /// The reconciler, which asked.
    Reconciler,
}

/// A sighting as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The project it was seen for.
    pub project: String,
    /// What was seen.
    pub sighting: Sighting,
    /// Who told of this value first; a webhook that confirms what the reconciler found takes its place.
    pub teller: Teller,
    /// When its value last changed, by our clock.
    pub at: Timestamp,
}

/// What a sighting comes to, given what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it may start something.
    pub news: bool,
    /// Whether it takes the place of what is known.
    pub kept: bool,
}

/// Says whether `told` is news, given what is known of it.
///
/// A webhook is news unless it only confirms what the reconciler found: which of two webhooks repeats the other is said by
/// the keys of their jobs. What the reconciler reads is news when it differs and is no older than what is known.
pub fn judge(known: Option<&Seen>, told: &Sighting, teller: Teller) -> Judged {
    match told.name.aspect {
        Aspect::Review(_) => return reviews::judge(known, told, teller),
        Aspect::Branch(_) => return branches::judge(known, told, teller),
        Aspect::Created
        | Aspect::State
        | Aspect::Labels
        | Aspect::Assignees
        | Aspect::Head
        | Aspect::Merged
        | Aspect::Open
        | Aspect::Status(_)
        | Aspect::Run(_) => {}
    }
    let Some(seen) = known else { return Judged { news: true, kept: true } };
    let known = &seen.sighting;
    let is_older = told.version.zip(known.version).is_some_and(|(told, known)| told < known);
    match (told.value == known.value, teller) {
        (true, Teller::Webhook) => {
            // It was closed in between, and nobody said so.
            let is_newer = told.version.zip(known.version).is_some_and(|(told, known)| told > known);
            let again = told.name.aspect == Aspect::Open && is_newer;
            Judged { news: seen.teller == Teller::Webhook || again, kept: seen.teller == Teller::Reconciler }
        }
        // A name that was missing before is worth keeping.
        (true, Teller::Reconciler) => Judged { news: false, kept: told.words != known.words && !is_older },
        (false, Teller::Webhook) => Judged { news: true, kept: !is_older && !is_overtaken(seen, told) },
        (false, Teller::Reconciler) => Judged { news: !is_older, kept: !is_older },
    }
}

/// Deliveries overtake each other: a test that is over is not under way again, unless the sender's time says so; and of two
/// changes in one instant the reconciler, which reads what is there, saw the later one.
fn is_overtaken(seen: &Seen, told: &Sighting) -> bool {
    let versions = told.version.zip(seen.sighting.version);
    if matches!(told.name.aspect, Aspect::Status(_) | Aspect::Run(_)) {
        let is_newer = versions.is_some_and(|(told, known)| told > known);
        told.value == PENDING && !is_newer
    } else {
        seen.teller == Teller::Reconciler && versions.is_some_and(|(told, known)| told == known)
    }
}

/// The value of [`Aspect::Open`] of a pull request that is open.
pub const OPEN: &str = "open";
/// The same of one that is closed, merged or not.
pub const CLOSED: &str = "closed";
/// The value of a test that is not over.
pub const PENDING: &str = "pending";

impl Seen {
    /// The row after `told`, which is to be kept.
    #[must_use]
    pub fn after(
        known: Option<&Self>,
        project: &str,
        told: &Sighting,
        teller: Teller,
        now: Timestamp,
    ) -> Self {
        match (&told.name.aspect, known) {
            (Aspect::Review(_), _) => {
                let value = reviews::after(known, told, teller);
                let at = known.filter(|known| known.sighting.value == value).map_or(now, |known| known.at);
                let sighting = Sighting { value, ..told.clone() };
                return Self { project: project.to_owned(), sighting, teller, at };
            }
            (Aspect::Branch(_), Some(known)) => return branches::after(known, told, teller, now),
            _ => {}
        }
        let same = known.filter(|known| known.sighting.value == told.value);
        let named = |word: &Word| word.name.is_some();
        let words = match same {
            Some(known) if !told.words.iter().any(named) => known.sighting.words.clone(),
            _ => told.words.clone(),
        };
        Self {
            project: project.to_owned(),
            sighting: Sighting { words, ..told.clone() },
            teller: if teller == Teller::Webhook {
                teller
            } else {
                same.map_or(teller, |known| known.teller)
            },
            at: same.map_or(now, |known| known.at),
        }
    }
}

impl Sighting {
    /// What is seen of `subject`, with nothing beside its value.
    pub fn of(subject: &str, aspect: Aspect, value: impl Into<String>) -> Self {
        Self {
            name: SightingName { subject: subject.to_ascii_lowercase(), aspect },
            value: value.into(),
            words: Vec::new(),
            version: None,
            own: false,
        }
    }

    /// A set of ids, whatever their order.
    pub fn of_ids(subject: &str, aspect: Aspect, words: Vec<Word>) -> Self {
        let mut ids: Vec<&str> = words.iter().map(|word| word.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let value = ids.join(",");
        Self { words, ..Self::of(subject, aspect, value) }
    }

    /// Whether one of its words is `wanted`, by id or by name in any case.
    pub fn has_word(&self, wanted: &str) -> bool {
        let lower = wanted.to_lowercase();
        self.words.iter().any(|word| {
            word.id.eq_ignore_ascii_case(wanted)
                || word.name.as_ref().is_some_and(|name| name.to_lowercase() == lower)
        })
    }
}

impl Teller {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Reconciler => "reconciler",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Webhook, Self::Reconciler].into_iter().find(|teller| teller.as_str() == word)
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::State => f.write_str("state"),
            Self::Labels => f.write_str("labels"),
            Self::Assignees => f.write_str("assignees"),
            Self::Head => f.write_str("head"),
            Self::Merged => f.write_str("merged"),
            Self::Open => f.write_str("open"),
            Self::Branch(name) => write!(f, "branch:{name}"),
            Self::Review(id) => write!(f, "review:{id}"),
            Self::Status(context) => write!(f, "status:{context}"),
            Self::Run(workflow) => write!(f, "run:{workflow}"),
        }
    }
}

impl From<Aspect> for String {
    fn from(aspect: Aspect) -> Self {
        aspect.to_string()
    }
}

impl TryFrom<String> for Aspect {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("unknown aspect {text:?}"))
    }
}

impl Aspect {
    /// Reads its text back.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            Some(("review", id)) => Self::Review(id.to_owned()),
            Some(("branch", name)) => Self::Branch(name.to_owned()),
            Some(("status", context)) => Self::Status(context.to_owned()),
            Some(("run", workflow)) => Self::Run(workflow.to_owned()),
            Some(_) => return None,
            None => match text {
                "created" => Self::Created,
                "state" => Self::State,
                "labels" => Self::Labels,
                "assignees" => Self::Assignees,
                "head" => Self::Head,
                "merged" => Self::Merged,
                "open" => Self::Open,
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_ms(1_000);

    fn state(value: &str, version_ms: i64) -> Sighting {
        Sighting { version: Some(Timestamp::from_ms(version_ms)), ..Sighting::of("I", Aspect::State, value) }
    }

    fn seen(sighting: Sighting, teller: Teller) -> Seen {
        Seen { project: "shop".to_owned(), sighting, teller, at: T }
    }

    fn told(known: &Seen, new: &Sighting, teller: Teller) -> (bool, bool) {
        let judged = judge(Some(known), new, teller);
        (judged.news, judged.kept)
    }

    #[test]
    fn whoever_comes_first_tells_and_the_other_confirms() {
        let first = judge(None, &state("a", 5), Teller::Reconciler);
        assert_eq!((first.news, first.kept), (true, true));
        let found = seen(state("a", 5), Teller::Reconciler);
        assert_eq!(told(&found, &state("a", 5), Teller::Reconciler), (false, false), "a second reconciler");
        assert_eq!(told(&found, &state("a", 4), Teller::Webhook), (false, true), "a late webhook confirms");
        let confirmed =
            Seen::after(Some(&found), "shop", &state("a", 4), Teller::Webhook, Timestamp::from_ms(9));
        assert_eq!((confirmed.teller, confirmed.at), (Teller::Webhook, T), "the value did not change");
        assert_eq!(
            told(&confirmed, &state("a", 6), Teller::Webhook),
            (true, false),
            "the keys of its jobs decide"
        );
        assert_eq!(told(&confirmed, &state("a", 6), Teller::Reconciler), (false, false));
    }

    #[test]
    fn what_is_older_takes_nothing_back() {
        let known = seen(state("b", 5), Teller::Webhook);
        assert_eq!(told(&known, &state("a", 4), Teller::Reconciler), (false, false), "a replica that lags");
        assert_eq!(told(&known, &state("a", 4), Teller::Webhook), (true, false), "told, and not the newest");
        assert_eq!(told(&known, &state("c", 5), Teller::Reconciler), (true, true));
        let found = seen(state("b", 5), Teller::Reconciler);
        assert_eq!(told(&found, &state("a", 5), Teller::Webhook), (true, false), "of the same instant");
        assert_eq!(told(&found, &state("c", 6), Teller::Webhook), (true, true));
    }

    #[test]
    fn a_test_that_is_over_is_not_under_way_again_by_a_delivery_that_was_overtaken() {
        let status = |value, version| Sighting {
            version,
            ..Sighting::of("acme/shop@x", Aspect::Status("build".to_owned()), value)
        };
        let over = seen(status("success", None), Teller::Webhook);
        assert_eq!(told(&over, &status(PENDING, None), Teller::Webhook), (true, false));
        let over = seen(status("success", Some(T)), Teller::Webhook);
        assert_eq!(
            told(&over, &status(PENDING, Some(Timestamp::from_ms(2_000))), Teller::Webhook),
            (true, true)
        );
        assert_eq!(told(&over, &status("failure", Some(T)), Teller::Webhook), (true, true));
    }

    #[test]
    fn a_pull_request_may_be_opened_again_though_nobody_saw_it_closed() {
        let open = |ms| Sighting {
            version: Some(Timestamp::from_ms(ms)),
            ..Sighting::of("acme/shop#1", Aspect::Open, OPEN)
        };
        let found = seen(open(5), Teller::Reconciler);
        assert_eq!(told(&found, &open(5), Teller::Webhook), (false, true), "late");
        assert_eq!(told(&found, &open(4), Teller::Webhook), (false, true), "later still");
        assert_eq!(told(&found, &open(6), Teller::Webhook), (true, true));
    }

    #[test]
    fn names_that_come_later_are_kept() {
        let word = |name: Option<&str>| vec![Word { id: "s1".to_owned(), name: name.map(str::to_owned) }];
        let bare = seen(Sighting { words: word(None), ..state("s1", 5) }, Teller::Webhook);
        let named = Sighting { words: word(Some("Approved")), ..state("s1", 5) };
        assert_eq!(told(&bare, &named, Teller::Reconciler), (false, true));
        let after = Seen::after(Some(&bare), "shop", &named, Teller::Reconciler, Timestamp::from_ms(9));
        assert!(after.sighting.has_word("approved") && after.sighting.has_word("S1"));
        assert_eq!((after.at, after.teller), (T, Teller::Webhook));
    }

    #[test]
    fn sets_have_one_form_and_aspects_are_read_back() {
        let word = |id: &str| Word { id: id.to_owned(), name: None };
        let set =
            |ids: &[&str]| Sighting::of_ids("I", Aspect::Labels, ids.iter().map(|id| word(id)).collect());
        assert_eq!(set(&["b", "a"]).value, set(&["a", "b", "a"]).value);
        for aspect in [
            Aspect::Created,
            Aspect::State,
            Aspect::Labels,
            Aspect::Assignees,
            Aspect::Head,
            Aspect::Merged,
            Aspect::Open,
            Aspect::Branch("release/1:2".to_owned()),
            Aspect::Review("5:approved".to_owned()),
            Aspect::Status("ci / build: x".to_owned()),
            Aspect::Run(String::new()),
        ] {
            assert_eq!(Aspect::parse(&aspect.to_string()), Some(aspect));
        }
        assert_eq!(Aspect::parse("pushed"), None);
    }
}
