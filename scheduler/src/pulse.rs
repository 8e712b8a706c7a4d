//! What live runs are doing at the moment: the end of what each printed last, and when. Kept in memory alone, for people
//! who look; after a start it fills up again as agents go on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::agent_output::phrase;
use domain::{RunId, Timestamp};

/// How much of a run's output is kept, in bytes.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// How much where many runs share [`KEPT_BYTES_OF_ALL`].
const KEPT_BYTES_MIN: usize = 1024;
/// How much of the output of all runs is kept, as long as that leaves each its least.
const KEPT_BYTES_OF_ALL: usize = 8 * 1024 * 1024;

/// The pulses of all live runs.
#[derive(Debug, Default)]
pub(crate) struct Pulses(Mutex<BTreeMap<RunId, Pulse>>);

#[derive(Debug, Default)]
struct Pulse {
    /// The end of its output; at most a half more than is kept of it.
    output: Vec<u8>,
    /// What was made of earlier output, shown while nothing newer says anything.
    phrase: Option<String>,
    at: Timestamp,
}

impl Pulse {
    /// Adds bytes, at most as many as are `kept` of all.
    fn keep(&mut self, bytes: &[u8], kept: usize) {
        let room = kept + kept / 2;
        if self.output.len() + bytes.len() > room {
            let gone = (self.output.len() + bytes.len()).saturating_sub(kept);
            self.output.drain(..gone.min(self.output.len()));
            self.output.shrink_to(room);
        }
        if self.output.capacity() < self.output.len() + bytes.len() {
            // As much as it will ever need, once it needs more than a line.
            self.output.reserve_exact(if self.output.is_empty() {
                bytes.len()
            } else {
                room - self.output.len()
            });
        }
        self.output.extend_from_slice(bytes);
    }
}

impl Pulses {
    /// Takes what a run printed. Costs a copy of at most [`KEPT_BYTES_MAX`]; it is read only when somebody looks.
    pub(crate) fn take(&self, run: RunId, bytes: &[u8], now: Timestamp) {
        let mut pulses = self.lock();
        let kept = (KEPT_BYTES_OF_ALL / pulses.len().max(1)).clamp(KEPT_BYTES_MIN, KEPT_BYTES_MAX);
        let pulse = pulses.entry(run).or_default();
        pulse.at = now;
        pulse.keep(&bytes[bytes.len().saturating_sub(kept)..], kept);
    }

    /// What each run did last, and when it last printed something.
    pub(crate) fn all(&self) -> Vec<(RunId, Option<String>, Timestamp)> {
        let mut pulses = self.lock();
        let told = |(run, pulse): (&RunId, &mut Pulse)| {
            if let Some(newer) = phrase(&pulse.output) {
                pulse.phrase = Some(newer);
            }
            (*run, pulse.phrase.clone(), pulse.at)
        };
        pulses.iter_mut().map(told).collect()
    }

    /// Forgets a run that is over.
    pub(crate) fn forget(&self, run: RunId) {
        self.lock().remove(&run);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Pulse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_ms(1_795_317_438_000);

    #[test]
    fn it_says_what_came_last_and_is_bounded() {
        let (pulses, run) = (Pulses::default(), RunId::lowest_at(AT));
        assert_eq!(pulses.all(), []);
        let said = br#"{"type":"assistant","message":{"content":[{"type":"text","text":"reads"}]}}"#;
        // Cut anywhere.
        pulses.take(run, &said[..30], AT);
        assert_eq!(pulses.all(), [(run, None, AT)]);
        pulses.take(run, &said[30..], AT);
        pulses.take(run, b"\n", AT);
        assert_eq!(pulses.all(), [(run, Some("reads".to_owned()), AT)]);
        for _ in 0..100 {
            pulses.take(run, &vec![b'x'; 3 * KEPT_BYTES_MAX], AT);
            pulses.take(run, &[b'y'; 700], AT);
            assert!(pulses.lock()[&run].output.len() <= KEPT_BYTES_MAX * 3 / 2);
        }
        assert_eq!(pulses.all(), [(run, Some("reads".to_owned()), AT)], "nothing newer says anything");
        pulses.forget(run);
        assert_eq!(pulses.all(), []);
    }

    #[test]
    fn what_is_kept_of_all_runs_is_bounded_and_each_keeps_its_last_line() {
        let pulses = Pulses::default();
        let run = |n: u32| RunId(uuid::Uuid::from_u128(n.into()));
        let said = br#"{"type":"assistant","message":{"content":[{"type":"text","text":"reads"}]}}"#;
        for n in 0..5_000 {
            pulses.take(run(n), &vec![b'x'; KEPT_BYTES_MAX], AT);
        }
        for n in 0..5_000 {
            pulses.take(run(n), b"\n", AT);
            pulses.take(run(n), said, AT);
            pulses.take(run(n), b"\n", AT);
        }
        let kept: usize = pulses.lock().values().map(|pulse| pulse.output.capacity()).sum();
        assert!(kept <= 2 * KEPT_BYTES_OF_ALL, "{kept} bytes are kept");
        assert!(pulses.all().iter().all(|(_, phrase, _)| phrase.as_deref() == Some("reads")));
    }
}
