//! The words that tell faults apart, as the CLI, the API, its SDKs and the system print them.
//!
//! Written with spaces and capitals for the reader; compared without. How they are weighed is `fault`'s.

use super::fault::{
    AUTH, BILLING, CONTEXT_LENGTH, Fault, INVALID_REQUEST, MAX_TURNS, NETWORK, OVERLOADED, RATE_LIMIT,
    SERVER_ERROR, TIMEOUT,
};

pub(super) const ABORTED: &[&str] = &[
    "API Error: Operation aborted",
    "API Error: Request was aborted",
    "API Error: The operation was aborted",
    "Interrupted by user",
    "Request interrupted by user",
    "Operation aborted",
];

/// How the CLI says that it has no such conversation.
pub(super) const SESSION_REFUSALS: &[&str] = &[
    "No conversation found with session ID",
    "Error: --resume requires a valid session",
    "No deferred tool marker found",
];

pub(super) const CERTIFICATE: &[&str] = &[
    "certificate",
    "certification path",
    "SELF_SIGNED",
    "ISSUER_CERT",
    "UNABLE_TO_VERIFY_LEAF",
    "CERT_HAS_EXPIRED",
    "ERR_TLS_CERT",
    "CERTIFICATE_VERIFY_FAILED",
];

pub(super) const AUTH_STARTS: &[&str] = &[
    "Failed to authenticate",
    "Invalid API key",
    "Invalid bearer token",
    "Not logged in",
    "Please run /login",
    "OAuth token",
    "OAuth session",
    "Your ANTHROPIC_API_KEY belongs to a disabled organization",
    "Your organization has disabled",
    "Your organization does not have access",
    "Your account does not have access",
    "This organization has been disabled",
    "Authentication failed",
    "fatal: Authentication failed",
    "Authentication error",
    "Login expired",
    "Error: no credentials",
    "Error: Invalid API key",
    "Error: Not logged in",
    "Could not resolve authentication method",
    "Error: Could not resolve authentication method",
];

pub(super) const BILLING_WORDS: &[&str] = &[
    "credit balance",
    "insufficient balance",
    "insufficient credit",
    "insufficient funds",
    "insufficient_quota",
    "exceeded your current quota",
    "billing",
    "payment",
    "spend limit",
    "spending limit",
    "spend cap",
    "enforced_spend_limit_reached",
    "purchase credits",
];

pub(super) const LIMIT_THAT_WAITING_DOES_NOT_LIFT: &[&str] = &[
    "extra usage is required",
    "extra usage required",
    "out of extra usage",
    "out of usage credits",
    "out of credits",
];

pub(super) const CONTEXT_WORDS: &[&str] = &[
    "prompt is too long",
    "conversation is too long",
    "conversation too long",
    "input is too long",
    "context length",
    "context_length",
    "context limit",
    "context window",
    "maximum context",
];

/// Words that decide, most telling first.
pub(super) const PHRASES: &[(&[&str], Fault)] = &[
    (
        &[
            "reached max turns",
            "reached maximum number of turns",
            "exceeded USD budget",
            "reached maximum budget",
        ],
        MAX_TURNS,
    ),
    (CONTEXT_WORDS, CONTEXT_LENGTH),
    (
        &[
            "credit balance",
            "insufficient balance",
            "insufficient credit",
            "insufficient funds",
            "purchase credits",
        ],
        BILLING,
    ),
    (
        &[
            "regain access",
            "monthly spend limit",
            "rate limit",
            "rate_limit",
            "ratelimited",
            "too many requests",
        ],
        RATE_LIMIT,
    ),
    (&["temporarily limiting requests"], RATE_LIMIT),
    (
        &[
            "issue with the selected model",
            "request too large",
            "image was too large",
            "image exceeds",
            "could not process image",
            "PDF too large",
            "PDF is password protected",
            "PDF file was not valid",
            "unable to respond to this request",
            "content filtering policy",
            "usage policy",
            "tool use concurrency",
            "output token maximum",
        ],
        INVALID_REQUEST,
    ),
    (&["empty or malformed response", "could not parse message into JSON"], SERVER_ERROR),
    (&["overloaded"], OVERLOADED),
    (
        &[
            "ECONNRESET",
            "ECONNREFUSED",
            "ECONNABORTED",
            "EAI_AGAIN",
            "ENOTFOUND",
            "EPIPE",
            "ENETUNREACH",
            "EHOSTUNREACH",
            "ETIMEDOUT",
            "FailedToOpenSocket",
            "unable to connect",
            "failed to connect",
            "connection refused",
            "connection reset",
            "connection dropped",
            "connection lost",
            "connection closed",
            "connection error",
            "connection aborted",
            "connection interrupted",
            "connection was closed",
            "connection terminated",
            "stalled mid-stream",
            "socket hang up",
            "socket connection was closed",
            "fetch failed",
            "could not resolve host",
            "couldn't resolve host",
            "getaddrinfo",
            "name resolution",
            "name or service not known",
            "network is unreachable",
            "network error",
            "no route to host",
            "can't reach the API server",
            "terminated unexpectedly",
            "premature close",
            "stream closed",
            "stream ended",
            "closed connection without response",
            "could not connect to server",
            "unable to resolve host",
            "peer closed connection",
            "incomplete chunked read",
            "no such host",
            "temporary failure resolving",
            "remote end hung up",
            "API Error: terminated",
        ],
        NETWORK,
    ),
    (&["timed out", "timeout"], TIMEOUT),
    (
        &[
            "server-side issue",
            "internal server error",
            "service unavailable",
            "bad gateway",
            "gateway time-out",
        ],
        SERVER_ERROR,
    ),
    (&["invalid API key", "unauthorized", "please run /login"], AUTH),
];
