//! The ways into the parsers of this crate for those who try them with any bytes; no part of what it offers.

use domain::Timestamp;
use domain::pipeline::Pipeline;
use events::plan::{Envelope, plan};
use events::{gitea, plane};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use service::settings::Secret;
use sha2::Sha256;

use crate::signature::Secrets;
use crate::{form, json, senders};

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub enum Sender {
    /// Gitea or Forgejo.
    Gitea,
    /// Plane.
    Plane,
}

/// Takes a body as far as to what would be stored: what it starts, or why it is refused.
///
/// # Errors
/// The refusal.
pub fn take(pipeline: &Pipeline, sender: Sender, event: &str, body: &[u8]) -> Result<String, String> {
    let text = str::from_utf8(body).map_err(|_| "not utf-8".to_owned())?;
    let object = json::parse_object(text)?;
    let observed = match sender {
        Sender::Gitea => gitea::observe(event, &object),
        Sender::Plane => plane::observe(event, &object),
    };
    let observed = observed.map_err(|refusal| refusal.to_string())?;
    let envelope = Envelope {
        source: "gitea",
        delivery_id: String::new(),
        event: event.to_owned(),
        body_sha256: String::new(),
        received_at: Timestamp::from_ms(1_795_166_100_000),
        trace_context: None,
    };
    let told = observed.account.payload(object, body.len());
    let delivery = plan(pipeline, envelope, &observed, told).map_err(|refusal| refusal.to_string())?;
    Ok(format!("{:?} {}", observed.place, delivery.jobs.len()))
}

/// The `payload` of a form.
pub fn form_payload(form: &[u8]) -> Option<Vec<u8>> {
    form::payload(form)
}

/// Bytes as a form writes them.
pub fn form_encoded(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    })
}

/// The signature of a body.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mac| mac.chain_update(body));
    mac.map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default()
}

/// Whether the headers of Gitea carry a signature of the body.
pub fn verify(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    Secrets::new([Secret::new(secret)]).verify(headers, senders::GITEA_SIGNATURES, body)
}
