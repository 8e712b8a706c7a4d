//! `orch top`: what runs, what waits and why, who needs you, live in a terminal.
//!
//! Here the scheduler is asked and keys are read; [`view`] decides what they mean and [`draw`] what is shown.

mod draw;
mod tail;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use proto::v1;
use ratatui::crossterm::event::{self, Event};
use service::Clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::{Admin, SchedulerAccess};
use crate::exit::Failure;
use crate::print::Output;
use domain::Timestamp;
use view::{Act, Facts, View};

/// How often the scheduler is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the thread that reads keys may go on after the end.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys that were pressed and not looked at yet.
const KEYS_MAX: usize = 64;
/// The most jobs of one status that are shown.
const JOBS_MAX: u32 = 200;
/// How much of a log's end is read.
const TAIL_BYTES: u64 = 16 * 1024;

/// `orch top`.
pub(crate) async fn run(access: &SchedulerAccess, output: Output) -> Result<(), Failure> {
    if output.json {
        return Err(Failure::Usage(
            "`orch top` is for people: `orch queue --json` is for scripts".to_owned(),
        ));
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Failure::Usage(
            "`orch top` needs a terminal: `orch queue` prints the same once".to_owned(),
        ));
    }
    let admin = access.open()?;
    let clock = Clock::system();
    let mut view = View::new(!output.no_color);
    // Before the screen is taken: who cannot be reached is said in one line.
    view.take(Ok(look(&admin, None).await?));
    let screen = Screen::take()?;
    let told = show(&admin, &clock, &mut view, screen).await;
    ratatui::restore();
    told
}

/// The terminal while it is ours.
struct Screen {
    terminal: ratatui::DefaultTerminal,
    keys: mpsc::Receiver<Event>,
}

impl Screen {
    fn take() -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| lost(&error))?;
        let (pressed, keys) = mpsc::channel(KEYS_MAX);
        std::thread::spawn(move || {
            while !pressed.is_closed() {
                let event = match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let Ok(event) = event else { return };
                if pressed.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self { terminal, keys })
    }
}

async fn show(admin: &Admin, clock: &Clock, view: &mut View, mut screen: Screen) -> Result<(), Failure> {
    let mut end = signal(SignalKind::terminate()).map_err(|error| lost(&error))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| lost(&error))?;
    let mut looking = Box::pin(look_after(admin, Duration::ZERO, view.selected()));
    loop {
        view.now = Timestamp::from_ms(clock.now_ms());
        screen.terminal.draw(|frame| draw::draw(frame, view)).map_err(|error| lost(&error))?;
        tokio::select! {
            biased;
            _ = end.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            pressed = screen.keys.recv() => {
                let Some(pressed) = pressed else { return Ok(()) };
                match view.press(&pressed) {
                    Act::Stay => {}
                    Act::Look => looking = Box::pin(look_after(admin, Duration::ZERO, view.selected())),
                    Act::Quit => return Ok(()),
                    Act::Cancel(id) => {
                        let asked = admin.ask(admin.client().cancel_job(v1::CancelJobRequest { id })).await;
                        view.told(match asked {
                            Ok(_) => format!("the end of job {id} was asked for"),
                            Err(failure) => failure.to_string(),
                        });
                        looking = Box::pin(look_after(admin, Duration::ZERO, view.selected()));
                    }
                }
            }
            seen = &mut looking => {
                view.take(seen.map_err(|failure| failure.to_string()));
                looking = Box::pin(look_after(admin, LOOK_EVERY, view.selected()));
            }
        }
    }
}

async fn look_after(admin: &Admin, pause: Duration, selected: Option<i64>) -> Result<Facts, Failure> {
    tokio::time::sleep(pause).await;
    look(admin, selected).await
}

/// Everything that is shown.
async fn look(admin: &Admin, selected: Option<i64>) -> Result<Facts, Failure> {
    let queue = admin.ask(admin.client().get_queue(v1::GetQueueRequest {})).await?;
    // What waits first: a job that starts between the two is in both, and not in neither.
    let mut waiting = jobs(admin, "queued").await?;
    let running = jobs(admin, "running").await?;
    waiting.retain(|waiting| running.iter().all(|running| running.id != waiting.id));
    let budgets = admin.ask(admin.client().list_budgets(v1::ListBudgetsRequest {})).await?.budgets;
    let detail = match selected {
        None => None,
        Some(id) => match admin.ask(admin.client().get_job(v1::GetJobRequest { id })).await {
            Ok(detail) => Some(detail),
            // It may be gone; the rest is still worth showing.
            Err(Failure::No(_)) => None,
            Err(failure) => return Err(failure),
        },
    };
    let tail = match detail.as_ref().and_then(|detail| detail.runs.last()) {
        None => Vec::new(),
        Some(run) => tail::phrases(&end_of_log(admin, &run.run_id).await?),
    };
    Ok(Facts { queue, running, waiting, budgets, detail, tail })
}

async fn jobs(admin: &Admin, status: &str) -> Result<Vec<v1::Job>, Failure> {
    let request =
        v1::ListJobsRequest { status: Some(status.to_owned()), limit: JOBS_MAX, ..Default::default() };
    Ok(admin.ask(admin.client().list_jobs(request)).await?.jobs)
}

async fn end_of_log(admin: &Admin, run: &str) -> Result<Vec<u8>, Failure> {
    let of = Some(v1::stream_logs_request::Of::RunId(run.to_owned()));
    let request = v1::StreamLogsRequest { of, follow: false, tail_bytes: Some(TAIL_BYTES) };
    let mut frames = admin.ask(admin.client().stream_logs(request)).await?;
    let mut end = Vec::new();
    while let Some(frame) = frames.message().await.map_err(|status| admin.refused(&status))? {
        end.extend(frame.data);
    }
    Ok(end)
}

fn lost(error: &io::Error) -> Failure {
    Failure::No(format!("could not use the terminal: {error}"))
}
