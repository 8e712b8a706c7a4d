//! What `orch top` knows and what keys mean: pure, so that it can be tested without a terminal.

use domain::Timestamp;
use proto::v1;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// What one look at the scheduler told.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) queue: v1::QueueReply,
    pub(super) running: Vec<v1::Job>,
    pub(super) waiting: Vec<v1::Job>,
    pub(super) budgets: Vec<v1::Budget>,
    /// Of the selected job.
    pub(super) detail: Option<v1::JobDetail>,
    /// The end of what its newest run printed, a line for each thing.
    pub(super) tail: Vec<String>,
}

impl Facts {
    /// Whether no job runs and none waits. The lists alone cannot tell: they are asked one after the other, and a job may
    /// move meanwhile; the counts are of one instant.
    pub(super) fn is_idle(&self) -> bool {
        let counts = self.queue.counts.unwrap_or_default();
        counts.queued == 0 && counts.running == 0 && self.running.is_empty() && self.waiting.is_empty()
    }
}

/// What is to be done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Stay,
    /// Ask at once.
    Look,
    /// End.
    Quit,
    /// End this job.
    Cancel(i64),
}

/// Everything that is on the screen.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) facts: Facts,
    /// When it is drawn.
    pub(super) now: Timestamp,
    pub(super) colors: bool,
    selected: Option<i64>,
    /// The job whose end has to be confirmed.
    pub(super) confirms: Option<i64>,
    /// What came of the last thing that was asked for.
    pub(super) message: Option<String>,
    /// Why what is shown is old.
    pub(super) trouble: Option<String>,
}

impl View {
    pub(super) fn new(colors: bool) -> Self {
        Self {
            facts: Facts::default(),
            now: Timestamp::from_ms(0),
            colors,
            selected: None,
            confirms: None,
            message: None,
            trouble: None,
        }
    }

    /// The job whose why and log are shown.
    pub(super) fn selected(&self) -> Option<i64> {
        self.selected
    }

    /// The jobs in the order of their rows: those that run, then those that wait.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &v1::Job> {
        self.facts.running.iter().chain(&self.facts.waiting)
    }

    /// Takes what was found, or why nothing was.
    pub(super) fn take(&mut self, seen: Result<Facts, String>) {
        match seen {
            Err(trouble) => self.trouble = Some(trouble),
            Ok(facts) => {
                (self.facts, self.trouble) = (facts, None);
                if self.selected.is_none() {
                    let first = self.jobs().next().map(|job| job.id);
                    self.selected = first;
                }
            }
        }
    }

    /// Says what came of something.
    pub(super) fn told(&mut self, message: String) {
        self.message = Some(message);
    }

    /// What an event of the terminal asks for.
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other key means nothing")]
    pub(super) fn press(&mut self, event: &Event) -> Act {
        let Event::Key(key) = event else { return Act::Stay };
        if key.kind == KeyEventKind::Release {
            return Act::Stay;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Act::Quit;
        }
        if let Some(job) = self.confirms.take() {
            return if key.code == KeyCode::Char('y') { Act::Cancel(job) } else { Act::Stay };
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Act::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Char('c') => {
                self.message = None;
                self.confirms = self.selected.filter(|id| self.jobs().any(|job| job.id == *id));
                Act::Stay
            }
            _ => Act::Stay,
        }
    }

    fn step(&mut self, by: isize) -> Act {
        let ids: Vec<i64> = self.jobs().map(|job| job.id).collect();
        let at = self.selected.and_then(|selected| ids.iter().position(|id| *id == selected));
        let next = match at {
            None => 0,
            Some(at) => at.saturating_add_signed(by).min(ids.len().saturating_sub(1)),
        };
        let next = ids.get(next).copied();
        if next == self.selected {
            return Act::Stay;
        }
        (self.selected, self.message) = (next, None);
        (self.facts.detail, self.facts.tail) = (None, Vec::new());
        Act::Look
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    fn view() -> View {
        let job = |id| v1::Job { id, ..v1::Job::default() };
        let mut view = View::new(false);
        view.take(Ok(Facts { running: vec![job(7)], waiting: vec![job(9), job(8)], ..Facts::default() }));
        view
    }

    #[test]
    fn lists_without_jobs_are_no_idle_system_while_a_job_is_counted() {
        let counted = |queued, running| {
            let counts = v1::Counts { queued, running, ..v1::Counts::default() };
            Facts { queue: v1::QueueReply { counts: Some(counts), ..Default::default() }, ..Facts::default() }
        };
        assert!(counted(0, 0).is_idle());
        assert!(!counted(1, 0).is_idle() && !counted(0, 1).is_idle());
        assert!(!view().facts.is_idle());
    }

    fn press(view: &mut View, code: KeyCode) -> Act {
        view.press(&Event::Key(KeyEvent::from(code)))
    }

    #[test]
    fn arrows_walk_over_running_and_waiting_jobs_and_stop_at_the_ends() {
        let mut view = view();
        assert_eq!(view.selected(), Some(7));
        assert_eq!((press(&mut view, KeyCode::Up), view.selected()), (Act::Stay, Some(7)));
        assert_eq!((press(&mut view, KeyCode::Down), view.selected()), (Act::Look, Some(9)));
        assert_eq!((press(&mut view, KeyCode::Down), view.selected()), (Act::Look, Some(8)));
        assert_eq!((press(&mut view, KeyCode::Down), view.selected()), (Act::Stay, Some(8)));
        view.take(Ok(Facts::default()));
        assert_eq!(view.selected(), Some(8), "a job that is over is still looked at");
    }

    #[test]
    fn a_cancel_is_confirmed_by_y_and_by_nothing_else() {
        let mut view = view();
        assert_eq!((press(&mut view, KeyCode::Char('c')), view.confirms), (Act::Stay, Some(7)));
        assert_eq!((press(&mut view, KeyCode::Char('q')), view.confirms), (Act::Stay, None));
        press(&mut view, KeyCode::Char('c'));
        assert_eq!(press(&mut view, KeyCode::Char('y')), Act::Cancel(7));
        assert_eq!(press(&mut view, KeyCode::Char('y')), Act::Stay);
        assert_eq!(press(&mut view, KeyCode::Char('q')), Act::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(&Event::Key(interrupt)), Act::Quit);
    }

    #[test]
    fn what_was_known_stays_while_nobody_answers() {
        let mut view = view();
        view.take(Err("nobody answers".to_owned()));
        assert_eq!((view.jobs().count(), view.trouble.as_deref()), (3, Some("nobody answers")));
        view.take(Ok(Facts::default()));
        assert_eq!((view.jobs().count(), view.trouble), (0, None));
    }
}
