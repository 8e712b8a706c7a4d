//! Where ids and chance come from: the system, or a seed, from which the same sequence follows each time.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use uuid::{Builder, Uuid};

/// A source of random values. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Random(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Seeded(Arc<Mutex<SmallRng>>),
}

impl Random {
    /// The system's.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// The sequence that follows from `seed`; nobody may rely on its being secret.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)))))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        match &self.0 {
            Source::System => rand::random(),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64(),
        }
    }

    /// A number in 0..1.
    pub fn fraction(&self) -> f64 {
        match &self.0 {
            Source::System => rand::random(),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).random(),
        }
    }

    /// An id that tells nothing (version 4).
    pub fn id(&self) -> Uuid {
        match &self.0 {
            Source::System => Uuid::new_v4(),
            Source::Seeded(_) => Builder::from_random_bytes(self.bytes()).into_uuid(),
        }
    }

    /// An id that sorts by when it was made (version 7); `now_ms` is UTC wall time.
    pub fn id_at(&self, now_ms: i64) -> Uuid {
        match &self.0 {
            Source::System => Uuid::now_v7(),
            Source::Seeded(_) => {
                let [_, _, _, _, _, _, random @ ..] = self.bytes();
                Builder::from_unix_timestamp_millis(now_ms.unsigned_abs(), &random).into_uuid()
            }
        }
    }

    fn bytes(&self) -> [u8; 16] {
        let both = u128::from(self.number()) << 64 | u128::from(self.number());
        both.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_values_again_and_the_system_does_not() {
        let draw = |random: &Random| (random.number(), random.id(), random.id_at(1_700_000_000_000));
        assert_eq!(draw(&Random::seeded(7)), draw(&Random::seeded(7)));
        assert_ne!(draw(&Random::seeded(7)), draw(&Random::seeded(8)));
        assert_ne!(draw(&Random::system()), draw(&Random::system()));
    }

    #[test]
    fn ids_have_their_versions_and_fractions_their_range() {
        for random in [Random::system(), Random::seeded(1)] {
            let at = random.id_at(1_700_000_000_000);
            assert_eq!((random.id().get_version_num(), at.get_version_num()), (4, 7));
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        let (seconds, nanos) = Random::seeded(1).id_at(1_700_000_000_123).get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_700_000_000, 123_000_000));
    }
}
