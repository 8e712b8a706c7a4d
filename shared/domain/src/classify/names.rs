//! Names of errors as programs of many languages print them in front of what went wrong, and what some of them mean.

use super::fault::{
    AUTH, CONTEXT_LENGTH, Fault, INVALID_REQUEST, NETWORK, OVERLOADED, RATE_LIMIT, SERVER_ERROR, TIMEOUT,
    UNTRUSTED,
};
use super::squeeze::{Squeezed, squeezed};

/// The longest name with its path, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// What stands before the name in Java, .NET, PHP and node.
const INTRODUCTIONS: &[&str] = &[
    "Exception in thread \"main\" ",
    "Unhandled exception. ",
    "PHP Fatal error: Uncaught ",
    "Uncaught ",
    "Caused by: ",
];

/// The errors of SDKs and network libraries by name, `Exception` written as `Error`; `None`: the name alone says nothing.
const KNOWN: &[(&str, Option<Fault>)] = &[
    ("ratelimiterror", Some(RATE_LIMIT)),
    ("throttlingerror", Some(RATE_LIMIT)),
    ("toomanyrequestserror", Some(RATE_LIMIT)),
    ("resourceexhausted", Some(RATE_LIMIT)),
    ("authenticationerror", Some(AUTH)),
    ("unauthorizederror", Some(AUTH)),
    ("permissiondeniederror", Some(AUTH)),
    ("forbiddenerror", Some(AUTH)),
    ("badrequesterror", Some(INVALID_REQUEST)),
    ("notfounderror", Some(INVALID_REQUEST)),
    ("unprocessableentityerror", Some(INVALID_REQUEST)),
    ("requesttoolargeerror", Some(INVALID_REQUEST)),
    ("contextwindowexceedederror", Some(CONTEXT_LENGTH)),
    ("conflicterror", Some(SERVER_ERROR)),
    ("internalservererror", Some(SERVER_ERROR)),
    ("serviceunavailableerror", Some(SERVER_ERROR)),
    ("apiresponsevalidationerror", Some(SERVER_ERROR)),
    ("deadlineexceedederror", Some(TIMEOUT)),
    ("overloadederror", Some(OVERLOADED)),
    ("apitimeouterror", Some(TIMEOUT)),
    ("apiconnectiontimeouterror", Some(TIMEOUT)),
    ("apiconnectionerror", Some(NETWORK)),
    ("apistatuserror", None),
    ("apierror", None),
    ("urlerror", Some(NETWORK)),
    ("connecterror", Some(NETWORK)),
    ("connectionerror", Some(NETWORK)),
    ("connectionreseterror", Some(NETWORK)),
    ("connectionrefusederror", Some(NETWORK)),
    ("clientconnectorerror", Some(NETWORK)),
    ("serverdisconnectederror", Some(NETWORK)),
    ("remotedisconnected", Some(NETWORK)),
    ("remoteprotocolerror", Some(NETWORK)),
    ("protocolerror", Some(NETWORK)),
    ("maxretryerror", Some(NETWORK)),
    ("gaierror", Some(NETWORK)),
    ("unknownhosterror", Some(NETWORK)),
    ("timeouterror", Some(TIMEOUT)),
    ("connecttimeout", Some(TIMEOUT)),
    ("connecttimeouterror", Some(TIMEOUT)),
    ("readtimeout", Some(TIMEOUT)),
    ("readtimeouterror", Some(TIMEOUT)),
    ("sockettimeouterror", Some(TIMEOUT)),
    ("sslerror", None),
    ("sslhandshakeerror", Some(UNTRUSTED)),
    ("sslcertverificationerror", Some(UNTRUSTED)),
];

/// The known name that a message starts with, or that Ruby puts behind it, and what follows.
pub(super) fn of(message: &Squeezed) -> Option<(String, &str)> {
    let text = message.as_str();
    let text = INTRODUCTIONS.iter().find_map(|words| text.strip_prefix(&squeezed(words))).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._\\".contains(c)).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    if let Some(name) = known(path) {
        return Some((name, rest));
    }
    let (_, behind) = text.split_once("(anthropic::errors::")?;
    let (path, rest) = behind.split_once(')')?;
    Some((known(path)?, rest))
}

/// What the name alone says.
pub(super) fn fault_of(name: &str) -> Option<Fault> {
    KNOWN.iter().find(|(known, _)| name == *known)?.1
}

fn known(path: &str) -> Option<String> {
    if path.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = path.rsplit(['.', '\\']).next()?.trim_start_matches("anthropic");
    let name = match name.strip_suffix("exception") {
        Some(stem) => format!("{stem}error"),
        None => name.to_owned(),
    };
    KNOWN.iter().any(|(known, _)| name == *known).then_some(name)
}

/// What follows the address where Go's HTTP client says what it asked: `POST "https://…": 529 …`, also in a log line or
/// a panic.
pub(super) fn after_go_url(message: &Squeezed) -> Option<&str> {
    let text = message.as_str();
    let text = text.strip_prefix("panic:").unwrap_or(text);
    // A log line's date and time.
    let text = text.trim_start_matches(|c: char| c.is_ascii_digit() || "/:.".contains(c));
    let address = text.strip_prefix("post\"http").or_else(|| text.strip_prefix("get\"http"))?;
    Some(address.split_once("\":")?.1)
}

/// What follows `The requested URL returned error:`, git's and curl's way to name a status.
pub(super) fn after_git_error(message: &Squeezed) -> Option<&str> {
    Some(message.as_str().split_once("requestedurlreturnederror:")?.1)
}
