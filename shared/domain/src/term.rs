//! Who leads what is done once for a whole fleet of schedulers: a row `(holder, term, beat, deadline)` that the holder
//! renews, and the rule by which another takes it over. Data and arithmetic, no I/O.
//!
//! Leading saves work and repeats; nothing hangs on it: whatever is led is idempotent and guarded, so that two leaders
//! would be harmless. No wall clock decides: the holder trusts its term for a part of the length after it *sent* a
//! renewal, another takes over after it *saw* the row unchanged for the whole length, each on its own clock. The holder's
//! trust is over first, whatever was delayed, as long as two clocks do not drift apart by a third.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The row that all schedulers on one database share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Who leads; `None`: nobody, the last one left.
    pub holder: Option<String>,
    /// Rises with each holder.
    pub number: u64,
    /// Rises with each write of the row.
    pub beat: u64,
    /// When it ends by the holder's wall clock, unless it is renewed; for people.
    pub deadline: Timestamp,
}

/// The term as one scheduler knows it. Instants are milliseconds of its clock that counts suspend.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    length_ms: i64,
    /// The row as it was seen last, and since when it has been like that.
    seen: Option<(Term, i64)>,
    trusted_until_ms: i64,
}

impl Candidate {
    /// A scheduler that leads nothing yet. `name` tells it from all others, `length` is a term's.
    pub fn new(name: String, length: Duration) -> Self {
        let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(3);
        Self { name, length_ms, seen: None, trusted_until_ms: i64::MIN }
    }

    /// Whether it leads at `boot_ms`.
    pub fn leads(&self, boot_ms: i64) -> bool {
        boot_ms < self.trusted_until_ms
    }

    /// What to write over the row that was read before `boot_ms`: the own term renewed, or the term of somebody who is
    /// gone taken; `None`: somebody else leads, or may.
    pub fn look(&mut self, row: &Term, boot_ms: i64, now: Timestamp) -> Option<Term> {
        if self.seen.as_ref().is_none_or(|(seen, _)| (seen.number, seen.beat) != (row.number, row.beat)) {
            self.seen = Some((row.clone(), boot_ms));
        }
        let unchanged_ms = self.seen.as_ref().map_or(0, |(_, since_ms)| boot_ms.saturating_sub(*since_ms));
        let number = match &row.holder {
            Some(holder) if *holder == self.name => row.number,
            Some(_) if unchanged_ms <= self.length_ms => return None,
            Some(_) | None => row.number + 1,
        };
        let length = Duration::from_millis(self.length_ms.unsigned_abs());
        Some(Term { holder: Some(self.name.clone()), number, beat: row.beat + 1, deadline: now.plus(length) })
    }

    /// Says that what [`Candidate::look`] gave is written, by a message sent at `sent_boot_ms`.
    pub fn written(&mut self, sent_boot_ms: i64) {
        let trust_ms = self.length_ms / 3 * 2;
        self.trusted_until_ms = self.trusted_until_ms.max(sent_boot_ms.saturating_add(trust_ms));
    }

    /// Stops leading; gives what to write over `row` so that another need not wait, where the row is its own.
    pub fn leave(&mut self, row: &Term) -> Option<Term> {
        self.trusted_until_ms = i64::MIN;
        let own = row.holder.as_ref() == Some(&self.name);
        own.then(|| Term { holder: None, beat: row.beat + 1, ..row.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH_MS: i64 = 900;
    const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

    fn candidate(name: &str) -> Candidate {
        Candidate::new(name.to_owned(), Duration::from_millis(LENGTH_MS.unsigned_abs()))
    }

    /// Reads and writes at once.
    fn turn(candidate: &mut Candidate, row: &mut Term, at_ms: i64) {
        if let Some(next) = candidate.look(row, at_ms, NOW) {
            *row = next;
            candidate.written(at_ms);
        }
    }

    #[test]
    fn the_first_leads_at_once_and_another_when_it_has_been_silent_for_a_whole_term() {
        let (mut row, mut a, mut b) = (Term::default(), candidate("a"), candidate("b"));
        turn(&mut a, &mut row, 0);
        assert_eq!((row.holder.as_deref(), row.number, row.beat), (Some("a"), 1, 1));
        assert_eq!(row.deadline, NOW.plus(Duration::from_millis(900)));
        turn(&mut b, &mut row, 10);
        assert!(a.leads(599) && !a.leads(600) && !b.leads(10));
        turn(&mut a, &mut row, 500);
        turn(&mut b, &mut row, 1_400);
        assert_eq!((row.number, row.beat), (1, 2), "b saw it change, and waits anew");
        turn(&mut b, &mut row, 2_300);
        assert!(!b.leads(2_300));
        turn(&mut b, &mut row, 2_301);
        assert!(b.leads(2_301) && row.number == 2);
        turn(&mut a, &mut row, 2_302);
        assert!(!a.leads(2_302), "it has to wait now, too");
    }

    #[test]
    fn who_leaves_is_followed_at_once_and_takes_nothing_from_another() {
        let (mut row, mut a, mut b) = (Term::default(), candidate("a"), candidate("b"));
        turn(&mut a, &mut row, 0);
        assert_eq!(b.leave(&row), None);
        row = a.leave(&row).unwrap();
        assert!(!a.leads(1));
        turn(&mut b, &mut row, 2);
        assert!(b.leads(2));
        assert_eq!((row.holder.as_deref(), row.number, row.beat), (Some("b"), 2, 3));
    }

    /// One thing that a scheduler does next, and how long after the last one anywhere.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Read,
        /// Sends what it wants to write; it arrives, or is lost, when it does [`Step::Arrive`].
        Send,
        Arrive {
            lost: bool,
        },
        Leave,
        /// Forgets everything, and is somebody else from now on.
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Step, i64)>> {
        let step = prop_oneof![
            6 => Just(Step::Read),
            6 => Just(Step::Send),
            6 => any::<u8>().prop_map(|dice| Step::Arrive { lost: dice < 25 }),
            1 => Just(Step::Leave),
            1 => Just(Step::Restart),
        ];
        let wait = prop_oneof![8 => 0_i64..60, 3 => 100_i64..700, 1 => 900_i64..3_000];
        prop::collection::vec((0_usize..3, step, wait), 1..200)
    }

    /// A scheduler, with a clock of its own and what is on its way.
    struct Scheduler {
        candidate: Candidate,
        offset_ms: i64,
        /// In thousandths of a per cent beside the true clock.
        drift: i64,
        read: Option<Term>,
        sent: Option<(Term, Term, i64)>,
    }

    impl Scheduler {
        fn clock(&self, true_ms: i64) -> i64 {
            self.offset_ms + true_ms + true_ms * self.drift / 100_000
        }
    }

    proptest! {
        /// However reads and writes are delayed, lost and mixed, no two lead at one instant; and the term never falls.
        #[test]
        fn no_two_lead_at_once(steps in steps(), drifts in prop::array::uniform3(-1_000_i64..1_000)) {
            let (mut row, mut at_ms, mut names) = (Term::default(), 0_i64, 3);
            let mut fleet: Vec<Scheduler> = (0..3).map(|n: usize| Scheduler {
                candidate: candidate(&n.to_string()),
                offset_ms: 1_000_000 * i64::try_from(n).unwrap(),
                drift: drifts[n],
                read: None,
                sent: None,
            }).collect();
            for (who, step, wait_ms) in steps {
                // Who leads changes only when somebody writes, or with time; each instant between is looked at.
                for _ in 0..=wait_ms / 20 {
                    let leaders = fleet.iter().filter(|one| one.candidate.leads(one.clock(at_ms))).count();
                    prop_assert!(leaders <= 1, "{leaders} lead at {at_ms}");
                    at_ms += 20.min(wait_ms);
                }
                let before = (row.number, row.beat);
                let one = &mut fleet[who];
                let clock = one.clock(at_ms);
                match step {
                    Step::Read => one.read = Some(row.clone()),
                    Step::Send => if let Some(read) = one.read.take()
                        && let Some(next) = one.candidate.look(&read, clock, NOW)
                    {
                        one.sent = Some((read, next, clock));
                    },
                    Step::Arrive { lost } => if let Some((read, next, sent_ms)) = one.sent.take()
                        && !lost && (row.number, row.beat) == (read.number, read.beat)
                    {
                        row = next;
                        one.candidate.written(sent_ms);
                    },
                    Step::Leave => if let Some(next) = one.candidate.leave(&row) { row = next },
                    Step::Restart => {
                        one.candidate = candidate(&names.to_string());
                        (one.read, one.sent) = (None, None);
                        names += 1;
                    }
                }
                prop_assert!((row.number, row.beat) >= before);
            }
            // Whoever goes on looking leads in the end.
            let one = &mut fleet[0];
            for _ in 0..8 {
                at_ms += 400;
                let clock = one.clock(at_ms);
                turn(&mut one.candidate, &mut row, clock);
            }
            prop_assert!(one.candidate.leads(one.clock(at_ms)));
        }
    }
}
