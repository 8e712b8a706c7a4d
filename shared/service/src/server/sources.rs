//! Who holds the places of a listener: no source more than its share, and when all are taken, whoever holds most gives way
//! to whoever holds fewer. Pure: it counts, and says whose connection is to be cut.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Whom connections are counted by: an IPv4 address, or the /64 that an IPv6 address is in, of which one host has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    /// The source of an address.
    pub fn of(addr: IpAddr) -> Self {
        Self(match addr.to_canonical() {
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            addr @ IpAddr::V4(_) => addr,
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(addr) => write!(f, "{addr}"),
            IpAddr::V6(addr) => write!(f, "{addr}/64"),
        }
    }
}

/// What becomes of a connection that asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<T> {
    /// It has one, under this number; `cut` is what loses its own for it.
    Taken { place: u64, cut: Option<T> },
    /// All are taken, by sources that hold no more than this one: it waits.
    Full,
    /// Its source holds its share.
    TooMany,
}

/// The places, each with what ends the connection in it.
#[derive(Debug)]
pub(super) struct Places<T> {
    max: usize,
    per_source_max: usize,
    taken: usize,
    next: u64,
    held: BTreeMap<Source, Vec<(u64, T)>>,
    /// What connections of unlimited sources hold.
    unlimited: BTreeMap<u64, T>,
}

impl<T> Places<T> {
    pub(super) fn new(max: usize, per_source_max: usize) -> Self {
        let (held, unlimited) = (BTreeMap::new(), BTreeMap::new());
        Self { max, per_source_max, taken: 0, next: 0, held, unlimited }
    }

    /// Asks for a place; a source that is `unlimited` has no share and never gives way.
    pub(super) fn enter(&mut self, source: Source, unlimited: bool, end: impl FnOnce() -> T) -> Entry<T> {
        let holds = self.held.get(&source).map_or(0, Vec::len);
        if !unlimited && holds >= self.per_source_max {
            return Entry::TooMany;
        }
        let mut cut = None;
        if self.taken >= self.max {
            // The newest of those that hold most: streams that have lasted go on.
            let most = self.held.values_mut().max_by_key(|held| held.len());
            cut = most.filter(|most| most.len() > holds + 1).and_then(Vec::pop).map(|(_, end)| end);
            if cut.is_none() {
                return Entry::Full;
            }
            self.taken -= 1;
        }
        self.taken += 1;
        self.next += 1;
        if unlimited {
            self.unlimited.insert(self.next, end());
        } else {
            self.held.entry(source).or_default().push((self.next, end()));
        }
        Entry::Taken { place: self.next, cut }
    }

    /// Gives a place back; one that was cut has none any more.
    pub(super) fn leave(&mut self, source: Source, place: u64) {
        if self.unlimited.remove(&place).is_some() {
            self.taken -= 1;
            return;
        }
        let Some(held) = self.held.get_mut(&source) else { return };
        if let Some(at) = held.iter().position(|(held, _)| *held == place) {
            held.swap_remove(at);
            self.taken -= 1;
        }
        if held.is_empty() {
            self.held.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u8) -> Source {
        Source::of([192, 0, 2, n].into())
    }

    fn enter(places: &mut Places<u8>, n: u8) -> Entry<u8> {
        places.enter(source(n), n == 0, || n)
    }

    #[test]
    fn a_source_holds_its_share_at_most_and_gets_it_back() {
        let mut places = Places::new(10, 2);
        let Entry::Taken { place, cut: None } = enter(&mut places, 1) else { panic!("a place is free") };
        assert_eq!(enter(&mut places, 1), Entry::Taken { place: 2, cut: None });
        assert_eq!(enter(&mut places, 1), Entry::TooMany);
        places.leave(source(1), place);
        places.leave(source(1), place);
        assert_eq!(enter(&mut places, 1), Entry::Taken { place: 3, cut: None });
        assert_eq!(enter(&mut places, 1), Entry::TooMany);
    }

    #[test]
    fn when_all_are_taken_whoever_holds_most_gives_way_to_whoever_holds_fewer() {
        let mut places = Places::new(4, 4);
        for n in [1, 1, 1, 2] {
            assert!(matches!(enter(&mut places, n), Entry::Taken { cut: None, .. }));
        }
        assert_eq!(enter(&mut places, 3), Entry::Taken { place: 5, cut: Some(1) });
        // Two, one and one: nobody holds so much more than a newcomer that it were fairer the other way round.
        assert_eq!(enter(&mut places, 2), Entry::Full);
        assert_eq!(enter(&mut places, 4), Entry::Taken { place: 6, cut: Some(1) });
        assert_eq!(enter(&mut places, 5), Entry::Full);
        assert_eq!(places.taken, 4);
        // What was cut ends some time later.
        places.leave(source(1), 3);
        assert_eq!((places.taken, enter(&mut places, 5)), (4, Entry::Full));
        places.leave(source(2), 4);
        assert_eq!(enter(&mut places, 5), Entry::Taken { place: 7, cut: None });
    }

    #[test]
    fn a_proxy_has_no_share_and_never_gives_way() {
        let mut places = Places::new(3, 1);
        for _ in 0..3 {
            assert!(matches!(enter(&mut places, 0), Entry::Taken { cut: None, .. }));
        }
        assert_eq!(enter(&mut places, 1), Entry::Full);
        places.leave(source(0), 1);
        assert!(matches!(enter(&mut places, 1), Entry::Taken { .. }));
    }

    #[test]
    fn addresses_of_one_host_are_one_source() {
        let of = |addr: &str| Source::of(addr.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
    }
}
