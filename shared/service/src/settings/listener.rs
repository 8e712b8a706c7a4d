//! What every listener grants: how many connections, and whose word about a client's address is taken.

use clap::Args;

use crate::server::{Limits, Network, Proxies};

/// What a listener grants its clients.
#[derive(Args, Clone, Debug)]
pub struct ListenerSettings {
    /// Connections open at once; beyond them the address that holds most gives way to one that holds fewer, or new ones wait
    #[arg(long, env = "ORCH_CONNECTIONS_MAX", value_name = "N", default_value_t = Limits::default().connections_max, value_parser = at_least_one)]
    pub connections_max: usize,
    /// Connections that one address (IPv6: one /64) may hold; further ones are closed at once
    #[arg(long, env = "ORCH_CONNECTIONS_PER_SOURCE_MAX", value_name = "N", default_value_t = Limits::default().connections_per_source_max, value_parser = at_least_one)]
    pub connections_per_source_max: usize,
    /// Proxies in front, as addresses or networks (`10.0.0.7,10.1.0.0/16`): the client is whom they name in `X-Forwarded-For`, and they may hold any number of connections
    #[arg(long, env = "ORCH_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
}

impl ListenerSettings {
    /// The limits of the listener.
    pub fn limits(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            connections_per_source_max: self.connections_per_source_max,
            proxies: self.proxies(),
            ..Limits::default()
        }
    }

    /// Whose word is taken.
    pub fn proxies(&self) -> Proxies {
        Proxies::new(self.trusted_proxies.clone())
    }
}

impl Default for ListenerSettings {
    fn default() -> Self {
        let Limits { connections_max, connections_per_source_max, .. } = Limits::default();
        Self { connections_max, connections_per_source_max, trusted_proxies: Vec::new() }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
