//! Reviews of the same words by the same person on the same commit: they are told apart by how many there are.
//!
//! A webhook says that there is one more, and not which; the forge's listing shows them all. What the listing showed first is
//! owed by the webhooks that come late, each of which confirms one.

use super::{Judged, Seen, Sighting, Teller};

/// How many are known, and how many of them no webhook has told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    known: u32,
    owed: u32,
}

impl Count {
    fn of(seen: Option<&Seen>) -> Self {
        seen.map(|seen| Self::parse(&seen.sighting.value)).unwrap_or_default()
    }

    fn parse(value: &str) -> Self {
        let (known, owed) = value.split_once(':').unwrap_or((value, "0"));
        Self { known: known.parse().unwrap_or(0), owed: owed.parse().unwrap_or(0) }
    }

    fn after(self, told: &Sighting, teller: Teller) -> Self {
        match teller {
            Teller::Webhook if self.owed > 0 => Self { owed: self.owed - 1, ..self },
            Teller::Webhook => Self { known: self.known.saturating_add(1), ..self },
            Teller::Reconciler => {
                let known = Self::parse(&told.value).known.max(self.known);
                Self { known, owed: self.owed.saturating_add(known - self.known) }
            }
        }
    }
}

/// A webhook is news unless one is owed; the listing is when it shows more than are known.
pub(super) fn judge(known: Option<&Seen>, told: &Sighting, teller: Teller) -> Judged {
    let before = Count::of(known);
    let after = before.after(told, teller);
    Judged { news: after.known > before.known, kept: after != before }
}

/// The value that is kept.
pub(super) fn after(known: Option<&Seen>, told: &Sighting, teller: Teller) -> String {
    let Count { known, owed } = Count::of(known).after(told, teller);
    format!("{known}:{owed}")
}

#[cfg(test)]
mod tests {
    use super::super::Aspect;
    use super::*;
    use crate::Timestamp;

    /// Who tells, what, and whether it is news.
    fn play(told: &[(Teller, &str, bool)]) {
        let mut seen: Option<Seen> = None;
        for (step, (teller, value, news)) in told.iter().enumerate() {
            let sighting = Sighting::of("acme/shop#1", Aspect::Review("x".to_owned()), *value);
            let judged = super::super::judge(seen.as_ref(), &sighting, *teller);
            assert_eq!(judged.news, *news, "step {step} of {told:?}: {seen:?}");
            if judged.kept {
                let at = Timestamp::from_ms(1);
                seen = Some(Seen::after(seen.as_ref(), "shop", &sighting, *teller, at));
            }
        }
    }

    #[test]
    fn each_is_news_once_whoever_tells_of_it_first() {
        let (webhook, listing) = (Teller::Webhook, Teller::Reconciler);
        play(&[(webhook, "1", true), (listing, "1", false), (webhook, "1", true), (listing, "2", false)]);
        play(&[(listing, "1", true), (listing, "1", false), (webhook, "1", false), (listing, "2", true)]);
        play(&[(listing, "1", true), (listing, "2", true), (webhook, "1", false), (webhook, "1", false)]);
        play(&[(webhook, "1", true), (listing, "1", false), (listing, "2", true), (webhook, "1", false)]);
        play(&[(listing, "2", true), (webhook, "1", false), (webhook, "1", false), (webhook, "1", true)]);
        play(&[(webhook, "1", true), (webhook, "1", true), (listing, "1", false), (listing, "2", false)]);
    }
}
