//! What programs want to know of an error, beside its status: `google.rpc` details.

use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Whose reasons they are.
const DOMAIN: &str = "orch.v1";
/// When trying again may help.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer of a verb; an error with its details.
pub(super) fn answer<T>(verb: &'static str, result: Result<T, Status>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|status| with_details(verb, &status))
}

fn with_details(verb: &'static str, status: &Status) -> Status {
    let code = status.code();
    let metadata = [("verb".to_owned(), verb.to_owned())];
    let mut details = ErrorDetails::with_error_info(reason(code), DOMAIN, metadata);
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, status.message(), details)
}

/// The code's name as documents write it: `NOT_FOUND`.
fn reason(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_it_is_and_when_to_try_again() {
        let told = |status: Status| {
            let status = answer::<()>("GetJob", Err(status)).unwrap_err();
            let details = status.get_error_details();
            let info = details.error_info().unwrap().clone();
            assert_eq!((info.domain.as_str(), info.metadata["verb"].as_str()), (DOMAIN, "GetJob"));
            (status.message().to_owned(), info.reason, details.retry_info().is_some())
        };
        assert_eq!(told(Status::not_found("no job 7")), ("no job 7".into(), "NOT_FOUND".into(), false));
        assert_eq!(told(Status::unavailable("locked")), ("locked".into(), "UNAVAILABLE".into(), true));
    }
}
