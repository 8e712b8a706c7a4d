//! The demo: a few jobs for the demo agent, and a running commentary of what becomes of them.
//!
//! Every line says DEMO. It talks to the scheduler as any other client does.

mod story;

use std::time::Duration;

use proto::v1;
use service::Clock;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::demo_agent::Act;
use crate::exit::Failure;
use crate::print::write;
use story::Story;

/// How often the demo looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the scheduler may take to answer at the start.
const FIRST_ANSWER_MS_MAX: i64 = 30_000;
/// The jobs, in order; all others just work.
const ACTS: [Act; 6] = [Act::Works, Act::Limit, Act::Flaky, Act::Hopeless, Act::Works, Act::Works];

/// Makes the jobs and tells what happens, until `stop`.
pub(crate) async fn run(admin: Admin, orch: String, stop: CancellationToken) {
    match stop.run_until_cancelled(tell(&admin, &orch)).await {
        None | Some(Ok(()) | Err(Failure::Unread)) => {}
        Some(Err(failure)) => tracing::error!(reason = %failure, "the demo broke off"),
    }
}

async fn tell(admin: &Admin, orch: &str) -> Result<(), Failure> {
    let clock = Clock::system();
    let begin_ms = clock.boot_ms();
    let mut story = Story::default();
    for (number, act) in ACTS.into_iter().enumerate() {
        // A restarted demo makes new jobs: their folders remember the tries of the old ones.
        let item = format!("DEMO-{}-{}-{}", act.word(), number + 1, begin_ms);
        let request = v1::EnqueueRequest {
            project: "demo".to_owned(),
            stage: "demo".to_owned(),
            work_item: Some(item),
            prompt: Some(act.prompt()),
            priority: 0,
            key: None,
        };
        let id = enqueue(admin, request, &clock, begin_ms).await?;
        story.expect(id, act);
    }
    let mut over = false;
    loop {
        let request = v1::ListJobsRequest { limit: 100, ..v1::ListJobsRequest::default() };
        // A scheduler that does not answer for a moment is asked again; the story goes on.
        if let Ok(reply) = admin.ask(admin.client().list_jobs(request)).await {
            let seconds = (clock.boot_ms() - begin_ms) / 1000;
            for line in story.told(&reply.jobs, domain::Timestamp::from_ms(clock.now_ms())) {
                write(format!("DEMO {:02}:{:02}  {line}\n", seconds / 60, seconds % 60).as_bytes())?;
            }
        }
        if story.is_over() && !over {
            over = true;
            write(story.epilogue(orch).as_bytes())?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn enqueue(
    admin: &Admin,
    request: v1::EnqueueRequest,
    clock: &Clock,
    begin_ms: i64,
) -> Result<i64, Failure> {
    loop {
        match admin.ask(admin.client().enqueue(request.clone())).await {
            Ok(reply) => return Ok(reply.id),
            Err(Failure::Unreachable(_)) if clock.boot_ms() - begin_ms < FIRST_ANSWER_MS_MAX => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}
