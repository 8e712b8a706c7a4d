//! The console as a person uses it: a real browser on the real stack.

mod access;
mod acting;
mod browser;
mod hostile;
mod looks;
mod watching;

use e2e::harness::{Service, Stack};

/// The address of a page of the stack's console.
fn url(stack: &Stack, path: &str) -> String {
    format!("http://{}{path}", stack.addr(Service::Console))
}
