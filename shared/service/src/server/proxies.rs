//! The proxies whose word about the client's address is taken: `ORCH_TRUSTED_PROXIES`, and what `X-Forwarded-For` means
//! behind them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// An address, or a network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    addr: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differ = u32::from(ours) ^ u32::from(theirs);
                differ.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = u128::from(ours) ^ u128::from(theirs);
                differ.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address and no network: write 10.0.0.7 or 10.0.0.0/8");
        let (addr, prefix) = text.trim().split_once('/').map_or((text.trim(), None), |(a, p)| (a, Some(p)));
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
        if prefix > bits { Err(wrong()) } else { Ok(Self { addr, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Trusts these.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Whether one of them has this address.
    pub fn trusts(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(addr))
    }

    /// Who asks: the peer, or, behind a proxy that is trusted, the last address in `X-Forwarded-For` that is no such
    /// proxy's. What stands before it the client may have written himself.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let fields: Vec<&str> =
            headers.get_all(FORWARDED_FOR).iter().filter_map(|field| field.to_str().ok()).collect();
        let mut told = fields.iter().rev().flat_map(|field| field.rsplit(','));
        while self.trusts(client) {
            let Some(Ok(before)) = told.next().map(|text| text.trim().parse::<IpAddr>()) else { break };
            client = before;
        }
        client.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(networks: &[&str]) -> Proxies {
        Proxies::new(networks.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn networks() {
        let all = proxies(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        let is_in = |addr: &str| all.trusts(addr.parse().unwrap());
        assert!(
            ["10.255.0.1", "192.0.2.7", "2001:db8:9::1", "::1", "::ffff:10.1.1.1"]
                .map(is_in)
                .iter()
                .all(|is| *is)
        );
        assert!(
            !["11.0.0.1", "192.0.2.8", "2001:db9::1", "::2", "127.0.0.1"].map(is_in).iter().any(|is| *is)
        );
        let everybody = proxies(&["0.0.0.0/0", "::/0"]);
        assert!(
            everybody.trusts("203.0.113.9".parse().unwrap()) && everybody.trusts("fe80::1".parse().unwrap())
        );
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "proxy.example", "10.0.0/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_vouches_past() {
        let client = |trusted: &[&str], peer: &str, forwarded: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
            }
            proxies(trusted).client(peer.parse().unwrap(), &headers).to_string()
        };
        let table: [(&[&str], &str, &[&'static str], &str); 8] = [
            (&[], "10.0.0.1", &["203.0.113.9"], "10.0.0.1"),
            (&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["10.0.0.0/8"], "10.0.0.1", &[], "10.0.0.1"),
            (&["10.0.0.0/8"], "10.0.0.1", &["unknown"], "10.0.0.1"),
            (&["10.0.0.0/8"], "192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
            (&["127.0.0.1"], "::ffff:127.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ];
        for (trusted, peer, forwarded, expected) in table {
            assert_eq!(client(trusted, peer, forwarded), expected, "{trusted:?} {peer} {forwarded:?}");
        }
    }
}
