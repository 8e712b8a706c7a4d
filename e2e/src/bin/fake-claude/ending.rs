//! The texts and fields of each API failure, in the words of the pinned CLI.

use crate::directive::Failure;
use crate::stream::ApiError;

const ORGANIZATION: &str = "00000000-0000-4000-8000-000000000000";

/// The rate limit of an API key: it names no time.
pub(crate) fn rate_limit(model: &str) -> ApiError {
    ApiError {
        status: Some(429),
        kind: Some("rate_limit_error"),
        label: "rate_limit",
        cause: None,
        terminal_reason: "api_error",
        text: format!(
            "API Error: Request rejected (429) · This request would exceed your organization's rate limit of \
             30,000 input tokens per minute (org: {ORGANIZATION}, model: {model})."
        ),
    }
}

/// The limit of a subscription; the text names the reset in UTC.
pub(crate) fn usage_limit(window: &str, resets_at_s: i64) -> ApiError {
    let name = match window {
        "five_hour" => "5-hour limit",
        "seven_day_opus" => "Opus limit",
        "seven_day_sonnet" => "Sonnet limit",
        _ => "weekly limit",
    };
    ApiError {
        status: Some(429),
        kind: Some("rate_limit_error"),
        label: "rate_limit",
        cause: Some("usage_limit_reached"),
        terminal_reason: "api_error",
        text: format!("You've hit your {name} · resets {} (UTC)", clock_text(resets_at_s)),
    }
}

/// `3:11am` for a UTC time of day.
fn clock_text(epoch_s: i64) -> String {
    let minutes = epoch_s.div_euclid(60).rem_euclid(24 * 60);
    let (hour, minute) = (minutes / 60, minutes % 60);
    let shown = if hour % 12 == 0 { 12 } else { hour % 12 };
    format!("{shown}:{minute:02}{}", if hour < 12 { "am" } else { "pm" })
}

/// The failures that need no number.
pub(crate) fn failure(failure: Failure) -> ApiError {
    let (status, kind, label, terminal_reason, text) = match failure {
        Failure::Overloaded => (
            Some(529),
            Some("overloaded_error"),
            "server_error",
            "api_error",
            "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment. \
             If it persists, check your inference gateway (127.0.0.1:42901).",
        ),
        Failure::ServerError => (
            Some(500),
            Some("api_error"),
            "server_error",
            "api_error",
            "API Error: 500 Internal server error. This is a server-side issue, usually temporary — try again in a moment.",
        ),
        Failure::Authentication => (
            Some(401),
            Some("authentication_error"),
            "authentication_failed",
            "api_error",
            "Invalid API key · Fix external API key",
        ),
        Failure::Billing => {
            (Some(400), Some("billing_error"), "billing_error", "api_error", "Credit balance is too low")
        }
        Failure::ContextLength => (
            Some(400),
            Some("invalid_request_error"),
            "invalid_request",
            "prompt_too_long",
            "Prompt is too long · Compact the conversation or start a new one.",
        ),
        Failure::Network => (
            None,
            None,
            "server_error",
            "api_error",
            "API Error: Connection dropped (ECONNRESET). Check your connection and try again.",
        ),
    };
    let cause = matches!(failure, Failure::Network).then_some("connection_failed");
    ApiError { status, kind, label, cause, terminal_reason, text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::clock_text;

    #[test]
    fn a_reset_is_told_as_the_cli_tells_it() {
        assert_eq!(clock_text(1_795_317_083), "3:11am");
        assert_eq!(clock_text(12 * 3600), "12:00pm");
        assert_eq!(clock_text(60), "12:01am");
    }
}
