//! `GET /events`: the document of `GET /queue` as server-sent events, whenever it says something new.
//!
//! One task reads the database for all listeners, and only while there are some. A listener that is slow or comes back
//! gets the present state and misses nothing that still holds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{StreamExt as _, stream};
use proto::v1;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::routes::{State, read_queue};

/// How often the database is looked at while somebody listens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a line goes out when there is nothing to say, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a browser whose connection broke comes back.
const RETRY: Duration = Duration::from_secs(2);

/// What listeners are told.
#[derive(Clone, Debug)]
enum News {
    /// Nobody has looked yet.
    None,
    /// The queue, and the name of this state of it.
    Queue { id: String, json: String },
    /// It cannot be read, and why.
    Trouble(String),
}

impl News {
    fn says_what(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Queue { id, .. }, Self::Queue { id: other, .. }) => id == other,
            (Self::Trouble(why), Self::Trouble(other)) => why == other,
            (Self::None | Self::Queue { .. } | Self::Trouble(_), _) => false,
        }
    }
}

/// Where news comes from.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    news: Arc<watch::Sender<News>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { news: Arc::new(watch::Sender::new(News::None)) }
    }

    /// Looks while somebody listens, until `stop`.
    pub(crate) async fn run(self, state: State, stop: CancellationToken) {
        loop {
            // What was found for earlier listeners is old when somebody comes again.
            let news = if self.news.receiver_count() > 0 { look(&state).await } else { News::None };
            self.news.send_if_modified(|last| {
                let new = !last.says_what(&news);
                *last = news;
                new
            });
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// The stream of one listener; `known` is the state he has seen, which is not told again.
    pub(crate) fn listen(&self, known: Option<String>, stop: CancellationToken) -> impl IntoResponse + use<> {
        let mut news = self.news.subscribe();
        news.mark_changed();
        let events = stream::unfold((news, known), async |(mut news, mut known)| {
            loop {
                news.changed().await.ok()?;
                let next = news.borrow_and_update().clone();
                let event = match next {
                    News::None => continue,
                    News::Queue { id, .. } if known.as_deref() == Some(&id) => continue,
                    News::Queue { id, json } => {
                        known = Some(id.clone());
                        Event::default().event("queue").id(id).data(json)
                    }
                    News::Trouble(why) => {
                        known = None;
                        Event::default().event("trouble").data(why.replace(['\r', '\n'], " "))
                    }
                };
                return Some((Ok::<_, Infallible>(event.retry(RETRY)), (news, known)));
            }
        });
        Sse::new(events.take_until(stop.cancelled_owned())).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }
}

async fn look(state: &State) -> News {
    match read_queue(state).await {
        Ok(queue) => match serde_json::to_string(&queue) {
            Ok(json) => News::Queue { id: name(queue), json },
            Err(error) => News::Trouble(error.to_string()),
        },
        Err(why) => News::Trouble(why),
    }
}

/// Names a state of the queue by what it says, without what only the clock moves.
fn name(mut queue: v1::QueueReply) -> String {
    queue.oldest_ready_seconds = queue.oldest_ready_seconds.map(|_| 0.0);
    if let Some(reaper) = &mut queue.reaper {
        reaper.last_tick_at = None;
    }
    for runner in &mut queue.runners {
        runner.last_seen_at.clear();
    }
    for preflight in queue.resilience.iter_mut().flat_map(|resilience| &mut resilience.preflight) {
        preflight.checked_at.clear();
    }
    let bytes = serde_json::to_vec(&queue).unwrap_or_default();
    hex::encode(&Sha256::digest(&bytes)[..8])
}
