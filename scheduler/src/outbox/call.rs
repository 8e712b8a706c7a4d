//! A REST API of JSON: requests with a credential, and answers with what they say of limits.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::outbound::{NoAnswer, Outbound};
use service::settings::ForgeAccess;

use super::forge::REQUEST_DEADLINE;

/// The most that is read of an answer: a page of fifty pull requests has half a megabyte.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The most letters kept of what a refusal says.
const WORDS_LETTERS_MAX: usize = 200;

/// An API as one account.
#[derive(Debug)]
pub(crate) struct Caller {
    access: ForgeAccess,
    outbound: Outbound,
    header: (HeaderName, HeaderValue),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer that is not what was hoped for.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// What was asked.
    pub(crate) what: &'static str,
    pub(crate) reply: Box<Reply>,
}

impl Caller {
    /// `header` and `value` are the credential.
    pub(crate) fn new(access: ForgeAccess, outbound: Outbound, header: &'static str, value: &str) -> Self {
        // Settings were refused if the credential had letters that no header takes.
        let mut value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        Self { access, outbound, header: (HeaderName::from_static(header), value) }
    }

    /// Asks, and waits for the whole answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, NoAnswer> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::new(body.into());
        *request.method_mut() = method;
        // A path that is none asks for the root, which is no API and answers so.
        *request.uri_mut() = self.access.at(path).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(self.header.0.clone(), self.header.1.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.outbound.call(request, REQUEST_DEADLINE, ANSWER_BYTES_MAX).await?;
        Ok(Reply { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

impl Reply {
    /// The answer to `what`, when it is a success.
    pub(crate) fn good(self, what: &'static str) -> Result<Self, Refusal> {
        if self.status.is_success() { Ok(self) } else { Err(Refusal { what, reply: Box::new(self) }) }
    }

    /// The body in a shape, when it has that one.
    pub(crate) fn shaped<T: DeserializeOwned>(self, what: &'static str) -> Result<T, Refusal> {
        let reply = self.good(what)?;
        serde_json::from_slice(&reply.body).map_err(|_| Refusal { what, reply: Box::new(reply) })
    }

    /// A header that is a number.
    pub(crate) fn number(&self, header: &str) -> Option<i64> {
        self.headers.get(header)?.to_str().ok()?.trim().parse().ok()
    }

    /// How long the service asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.number(RETRY_AFTER.as_str())?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// Whether the body says this, whatever the case.
    pub(crate) fn says(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.body).to_ascii_lowercase().contains(words)
    }

    /// Status and the beginning of what it says, in one line.
    pub(crate) fn words(&self) -> String {
        let said = String::from_utf8_lossy(&self.body);
        let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String =
            said.chars().filter(|letter| !letter.is_control()).take(WORDS_LETTERS_MAX).collect();
        if self.status.is_success() {
            return format!("{} in another shape", self.status);
        }
        format!("{} {said}", self.status).trim_end().to_owned()
    }
}
