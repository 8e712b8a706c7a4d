//! Who acts through this service, and that it is kept: every verb that changes something is written to the audit, with
//! what became of it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use domain::text;
use proto::v1::{AuditEntry, ListAuditReply, ListAuditRequest};
use store::{Act, ActFilter, Actor};
use tonic::{Request, Status};

use crate::grpc::unavailable;
use crate::moves::error_chain;
use crate::shared::Shared;

/// The longest name, door, address and subject kept, in bytes, and the longest reason of a refusal.
const WORD_BYTES_MAX: usize = 200;
const RESULT_BYTES_MAX: usize = 500;
/// The most entries on a page, and how many there are when nobody says.
const PAGE_MAX: u32 = 1000;
const PAGE: u32 = 100;
/// Who acts, when nobody says.
const SOMEBODY: &str = "operator";

/// Who a request says it is of. It is the caller's word: whoever reaches this service may act, and says so truthfully or
/// not; the address is what the connection shows, unless the console tells whom it acts for.
pub(super) fn actor<T>(request: &Request<T>) -> Actor {
    let said = |key: &str| {
        let text = request.metadata().get(key)?.to_str().ok()?;
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some(text::line(&decoded, WORD_BYTES_MAX)).filter(|text| !text.is_empty())
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    Actor {
        by: said("orch-by").unwrap_or_else(|| SOMEBODY.to_owned()),
        via: said("orch-via").unwrap_or_else(|| "grpc".to_owned()),
        origin: said("orch-from").or(peer),
    }
}

/// Something that is about to be done.
#[derive(Debug)]
pub(super) struct Acting {
    shared: Arc<Shared>,
    act: Act,
}

impl Acting {
    /// Takes down who does what to what.
    pub(super) fn new<T>(shared: &Arc<Shared>, request: &Request<T>, verb: &str, subject: &str) -> Self {
        let act = Act {
            id: 0,
            at: shared.now(),
            actor: actor(request),
            verb: verb.to_owned(),
            subject: text::line(subject, WORD_BYTES_MAX),
            project: None,
            work_item: None,
            note: None,
            result: Act::DONE.to_owned(),
        };
        Self { shared: shared.clone(), act }
    }

    /// Who does it.
    pub(super) fn actor(&self) -> Actor {
        self.act.actor.clone()
    }

    /// Does it, and keeps that it was done or why not.
    pub(super) async fn keep<T>(self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let done = work.await;
        self.write(done.as_ref().err(), None).await;
        done
    }

    /// As [`Acting::keep`], with a note on what came out.
    pub(super) async fn keep_noting<T>(
        self,
        work: impl Future<Output = Result<T, Status>>,
        note: impl FnOnce(&T) -> Option<String>,
    ) -> Result<T, Status> {
        let done = work.await;
        let note = done.as_ref().ok().and_then(note);
        self.write(done.as_ref().err(), note).await;
        done
    }

    /// As [`Acting::keep`], where the work itself keeps in its own transaction what it did.
    pub(super) async fn keep_refusal<T>(
        self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let done = work.await;
        if done.is_err() {
            self.write(done.as_ref().err(), None).await;
        }
        done
    }

    /// What was done stands, whether it could be written down or not.
    async fn write(self, refused: Option<&Status>, note: Option<String>) {
        let Self { shared, mut act } = self;
        act.note = note;
        if let Some(status) = refused {
            act.result = text::line(status.message(), RESULT_BYTES_MAX);
            if act.result.is_empty() {
                act.result = format!("refused: {:?}", status.code());
            }
        }
        let Actor { by, via, origin } = &act.actor;
        tracing::info!(
            verb = act.verb,
            subject = act.subject,
            result = act.result,
            by,
            via,
            origin,
            "somebody acted"
        );
        if let Err(error) = shared.store.note_act(act).await {
            tracing::error!(error = error_chain(&error), "what somebody did could not be kept in the audit");
        }
    }
}

/// The audit, paged.
pub(super) async fn list(shared: &Shared, request: ListAuditRequest) -> Result<ListAuditReply, Status> {
    let limit = if request.limit == 0 { PAGE } else { request.limit.min(PAGE_MAX) };
    let filter = ActFilter { before: request.before, subject: request.subject, limit };
    let acts = shared.store.acts(filter).await.map_err(|error| unavailable(&error))?;
    Ok(ListAuditReply { entries: acts.into_iter().map(entry).collect() })
}

fn entry(act: Act) -> AuditEntry {
    AuditEntry {
        id: act.id,
        at: act.at.to_string(),
        by: act.actor.by,
        via: act.actor.via,
        origin: act.actor.origin,
        verb: act.verb,
        subject: act.subject,
        project: act.project,
        work_item: act.work_item,
        note: act.note,
        result: act.result,
    }
}
