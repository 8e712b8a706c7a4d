//! Pushes to a branch: a webhook says from where to where, a listing shows only where the branch is.
//!
//! Where the listing showed it first, the webhooks of all pushes on the way are owed: a late one confirms its part of the way.

use super::{Judged, Seen, Sighting, Teller, Word};
use crate::Timestamp;

/// Where a webhook says that the push began.
fn before(told: &Sighting) -> Option<&str> {
    told.words.first().map(|word| word.id.as_str())
}

/// From where webhooks are owed.
fn owed(known: &Seen) -> Option<&str> {
    let from = before(&known.sighting).filter(|from| *from != known.sighting.value);
    from.filter(|_| known.teller == Teller::Reconciler)
}

/// Whether a webhook tells of a push that is known by where it led.
fn confirms(known: &Seen, told: &Sighting) -> bool {
    owed(known).is_some_and(|from| before(told) == Some(from) || told.value == known.sighting.value)
}

pub(super) fn judge(known: Option<&Seen>, told: &Sighting, teller: Teller) -> Judged {
    let Some(known) = known else { return Judged { news: true, kept: true } };
    let moved = told.value != known.sighting.value;
    match teller {
        Teller::Webhook if confirms(known, told) => Judged { news: false, kept: true },
        // Which of two webhooks repeats the other is said by the keys of their jobs.
        Teller::Webhook => Judged { news: true, kept: moved },
        Teller::Reconciler => Judged { news: moved, kept: moved },
    }
}

/// The row after `told`, which is to be kept.
pub(super) fn after(known: &Seen, told: &Sighting, teller: Teller, now: Timestamp) -> Seen {
    let way = |from: &str| vec![Word { id: from.to_owned(), name: None }];
    let moved = told.value != known.sighting.value;
    match teller {
        Teller::Webhook if confirms(known, told) && moved => {
            let sighting = Sighting { words: way(&told.value), ..known.sighting.clone() };
            Seen { sighting, ..known.clone() }
        }
        Teller::Webhook => {
            let at = if moved { now } else { known.at };
            Seen { sighting: told.clone(), teller, at, ..known.clone() }
        }
        Teller::Reconciler => {
            let words = way(owed(known).unwrap_or(&known.sighting.value));
            Seen { sighting: Sighting { words, ..told.clone() }, teller, at: now, ..known.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Aspect;
    use super::*;

    enum Told {
        Pushed(&'static str, &'static str),
        Listed(&'static str),
    }
    use Told::{Listed, Pushed};

    /// What is told, and whether it is news.
    fn play(told: &[(Told, bool)]) {
        let mut seen: Option<Seen> = None;
        for (step, (told, news)) in told.iter().enumerate() {
            let (from, to, teller) = match told {
                Pushed(from, to) => (Some(*from), *to, Teller::Webhook),
                Listed(to) => (None, *to, Teller::Reconciler),
            };
            let words = from.map(|from| Word { id: from.to_owned(), name: None }).into_iter().collect();
            let name = Aspect::Branch("main".to_owned());
            let sighting = Sighting { words, ..Sighting::of("acme/shop@refs/heads/main", name, to) };
            let judged = super::super::judge(seen.as_ref(), &sighting, teller);
            assert_eq!(judged.news, *news, "step {step}: {seen:?}");
            if judged.kept {
                seen = Some(Seen::after(seen.as_ref(), "shop", &sighting, teller, Timestamp::from_ms(1)));
            }
        }
    }

    #[test]
    fn whoever_comes_first_tells_and_the_other_confirms() {
        play(&[
            (Pushed("0", "a"), true),
            (Listed("a"), false),
            (Pushed("a", "b"), true),
            (Listed("b"), false),
        ]);
        play(&[
            (Listed("a"), true),
            (Listed("c"), true),
            (Pushed("a", "b"), false),
            (Pushed("b", "c"), false),
        ]);
        play(&[(Listed("a"), true), (Listed("b"), true), (Listed("c"), true), (Pushed("a", "b"), false)]);
        play(&[
            (Pushed("0", "a"), true),
            (Listed("c"), true),
            (Pushed("a", "b"), false),
            (Listed("c"), false),
            (Pushed("b", "c"), false),
            (Pushed("c", "d"), true),
            (Listed("d"), false),
        ]);
        // Pushed back to where it was: told by webhooks alone, and found.
        play(&[
            (Pushed("0", "a"), true),
            (Pushed("a", "b"), true),
            (Pushed("b", "a"), true),
            (Listed("a"), false),
        ]);
        play(&[(Pushed("0", "a"), true), (Listed("b"), true), (Listed("a"), true), (Pushed("a", "b"), true)]);
    }
}
