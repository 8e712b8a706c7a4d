//! `GET /events`: the document of `GET /queue` as server-sent events `queue`, whenever it says something new, and `runs`
//! now and then while live runs get on, which the document does not show.
//!
//! One task reads the database for all listeners, and only while there are some. A listener that is slow or comes back
//! gets the present state and misses nothing that still holds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use domain::RunId;
use futures::{StreamExt as _, stream};
use proto::v1;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::routes::{State, live, read_queue};

/// How often the database is looked at while somebody listens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a line goes out when there is nothing to say, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a browser whose connection broke comes back.
const RETRY: Duration = Duration::from_secs(2);

/// How often listeners hear at most that live runs got on.
const RUNS_EVERY: Duration = Duration::from_secs(2);

/// What listeners are told.
#[derive(Clone, Debug)]
enum News {
    /// Nobody has looked yet.
    None,
    /// The queue, and the name of this state of it; `runs` counts how often live runs were seen to have got on.
    Queue { id: String, json: Arc<str>, runs: u64 },
    /// It cannot be read, and why.
    Trouble(String),
}

impl News {
    fn says_what(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Queue { id, runs, .. }, Self::Queue { id: other, runs: others, .. }) => {
                id == other && runs == others
            }
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
        let mut pace = Pace::default();
        loop {
            // What was found for earlier listeners is old when somebody comes again.
            let news =
                if self.news.receiver_count() > 0 { look(&state, &mut pace).await } else { News::None };
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
        let events = stream::unfold((news, known, None), async |(mut news, mut known, mut seen)| {
            loop {
                news.changed().await.ok()?;
                let next = news.borrow_and_update().clone();
                let event = match next {
                    News::None => continue,
                    News::Queue { id, runs, .. } if known.as_deref() == Some(&id) => {
                        if seen.replace(runs).is_none_or(|seen| seen == runs) {
                            continue;
                        }
                        Event::default().event("runs").data("")
                    }
                    News::Queue { id, json, runs } => {
                        (known, seen) = (Some(id.clone()), Some(runs));
                        Event::default().event("queue").id(id).data(json)
                    }
                    News::Trouble(why) => {
                        known = None;
                        Event::default().event("trouble").data(why.replace(['\r', '\n'], " "))
                    }
                };
                return Some((Ok::<_, Infallible>(event.retry(RETRY)), (news, known, seen)));
            }
        });
        Sse::new(events.take_until(stop.cancelled_owned())).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }
}

/// When live runs were last said to have got on.
#[derive(Debug, Default)]
struct Pace {
    /// What was known of them then.
    state: Vec<RunState>,
    said_at: Option<Instant>,
    count: u64,
}

/// A live run, as far as a page shows it and the queue's document does not.
type RunState = (RunId, Option<u32>, Option<u64>, Option<u64>, Option<String>);

impl Pace {
    /// Counts on when something is new and the last word was a while ago.
    fn see(&mut self, state: Vec<RunState>) -> u64 {
        if state != self.state && self.said_at.is_none_or(|at| at.elapsed() >= RUNS_EVERY) {
            (self.state, self.said_at) = (state, Some(Instant::now()));
            self.count += 1;
        }
        self.count
    }
}

async fn look(state: &State, pace: &mut Pace) -> News {
    let queue = match read_queue(state).await {
        Ok(queue) => queue,
        Err(why) => return News::Trouble(why),
    };
    let runs =
        if queue.runners.iter().any(|runner| runner.busy > 0) { runs(state).await } else { Vec::new() };
    match serde_json::to_string(&queue) {
        Ok(json) => News::Queue { id: name(queue), json: json.into(), runs: pace.see(runs) },
        Err(error) => News::Trouble(error.to_string()),
    }
}

/// What live runs do; what cannot be read now is read at the next look.
async fn runs(state: &State) -> Vec<RunState> {
    let Ok(store) = state.database.store() else { return Vec::new() };
    let live = live(state).await.unwrap_or_default();
    let phrase = |run: RunId| live.runs.get(&run.to_string()).and_then(|run| run.phrase.clone());
    let runs = store.live_runs().await.unwrap_or_default();
    runs.into_iter()
        .map(|run| (run.id, run.usage.turns, run.usage.input_tokens, run.usage.output_tokens, phrase(run.id)))
        .collect()
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
