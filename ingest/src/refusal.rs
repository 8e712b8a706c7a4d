//! Why a request was not taken, the status it gets and the constant sentence its sender reads.
//!
//! The sentences are shown to repository and workspace admins: they say what to do, and never quote the request
//! or a secret.

use http::StatusCode;

/// A request that was not taken; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Neither of the two webhook paths.
    #[error("nothing is here: webhooks go to /webhooks/gitea or /webhooks/plane")]
    NotFound,
    /// Not a POST.
    #[error("this path takes POST only: set the hook's method to POST")]
    Method,
    /// The body is longer than `ORCH_MAX_BODY_BYTES`.
    #[error("the body is too large: raise ORCH_MAX_BODY_BYTES, or send less")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time: send it again")]
    Slow,
    /// The connection broke, or its framing was wrong.
    #[error("the body could not be read: send it again")]
    Broken,
    /// Neither JSON nor, from Gitea, a form.
    #[error("the content type is not taken: send application/json in utf-8, or Gitea's form encoding")]
    ContentType,
    /// Compressed.
    #[error("a content encoding is not taken: send the body as it is")]
    ContentEncoding,
    /// No secret for Gitea.
    #[error("no secret is configured for this webhook: set ORCH_GITEA_WEBHOOK_SECRET")]
    NoGiteaSecret,
    /// No secret for Plane.
    #[error("no secret is configured for this webhook: set ORCH_PLANE_WEBHOOK_SECRET")]
    NoPlaneSecret,
    /// No signature, or a wrong one.
    #[error("the signature is missing or wrong: give the hook the same secret as here")]
    Signature,
    /// Too much from the same source was refused before.
    #[error("too much from this address was refused: mend the hook, and wait a little")]
    TooMany,
    /// No event header.
    #[error("the event header is missing: send the headers of the forge or tracker")]
    NoEvent,
    /// No delivery header.
    #[error("the delivery header is missing: send the headers of the forge or tracker")]
    NoDelivery,
    /// A delivery id that is not a UUID.
    #[error("the delivery id is not a uuid: send the headers of the forge or tracker")]
    DeliveryId,
    /// Not UTF-8.
    #[error("the body is not utf-8: send JSON text in utf-8")]
    NotUtf8,
    /// A form without, or with more than one, `payload`.
    #[error("the form has no payload field of its own: send Gitea's form encoding, or application/json")]
    NoPayload,
    /// Not one strict JSON object.
    #[error(
        "the body is not one JSON object that can be read in one way only: check what is between sender and here"
    )]
    NotJson,
    /// JSON of another shape than the event's.
    #[error("the body does not have the shape of this event: check the hook's type and version")]
    Shape,
    /// A name in the body that nothing may be built from.
    #[error(
        "the body has an id, branch or repository name that cannot be used: rename it, or check the hook's type"
    )]
    Identifier,
    /// Signed, and not ours.
    #[error("no project here is configured for this repository or workspace: add it to orch.toml")]
    Foreign,
    /// The delivery id came before with another body.
    #[error("this delivery id came before with another body: nothing was changed, send it under a new id")]
    Conflict,
    /// The database could not take it in time.
    #[error("the event could not be stored: send it again later")]
    Unavailable,
    /// A defect of ours.
    #[error("the event could not be taken because of a fault here: look into the log of orch-ingest")]
    Internal,
}

impl From<events::Refusal> for Refusal {
    fn from(refusal: events::Refusal) -> Self {
        match refusal {
            events::Refusal::Shape => Self::Shape,
            events::Refusal::Identifier => Self::Identifier,
            events::Refusal::Foreign => Self::Foreign,
        }
    }
}

impl Refusal {
    /// Whether it was refused to somebody who may be anybody, before a signature was found good.
    pub(crate) fn is_of_stranger(self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::Method
                | Self::TooLarge
                | Self::Slow
                | Self::Broken
                | Self::ContentType
                | Self::ContentEncoding
                | Self::NoGiteaSecret
                | Self::NoPlaneSecret
                | Self::Signature
                | Self::TooMany
        )
    }

    /// Whether the connection ends with it, since what follows on it cannot be told from the body.
    pub(crate) fn closes(self) -> bool {
        matches!(self, Self::TooLarge | Self::Slow | Self::Broken)
    }

    /// The status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::ContentType | Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoGiteaSecret | Self::NoPlaneSecret | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Signature => StatusCode::UNAUTHORIZED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken
            | Self::NoEvent
            | Self::NoDelivery
            | Self::DeliveryId
            | Self::NotUtf8
            | Self::NoPayload
            | Self::NotJson => StatusCode::BAD_REQUEST,
            Self::Shape | Self::Identifier => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
