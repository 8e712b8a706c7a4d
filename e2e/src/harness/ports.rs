//! Ports that stay ours while a service is down: below the range from which the kernel hands out ports
//! to outgoing connections, so that a restart finds its port free.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// First port tried; below it live well-known services.
const FIRST: u16 = 20_000;
/// One past the last port tried; Linux hands out 32768 and above by default.
const LAST: u16 = 32_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port on 127.0.0.1 that nobody listens on and that this process has not given out before.
///
/// # Errors
/// The whole range is in use.
pub fn free_port() -> anyhow::Result<u16> {
    let span = LAST - FIRST;
    // Test processes that run side by side start at different places of the range.
    let offset = u16::try_from(std::process::id() % 97 * 113 % u32::from(span))?;
    for _ in 0..span {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + step % span) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {FIRST} and {LAST} is free")
}
