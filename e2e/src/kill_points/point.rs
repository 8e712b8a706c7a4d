//! Where a kill falls: which process, in which scene, at which step, and at which moment of it.

use std::fmt;

use crate::harness::Service;

/// A process that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// `orch-ingest`
    Ingest,
    /// `orch-scheduler`
    Scheduler,
    /// `orch-runner`
    Runner,
    /// The keeper of one run.
    Shim,
}

impl Victim {
    /// Its name as the first word of its command line.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Ingest => "orch-ingest",
            Self::Scheduler => "orch-scheduler",
            Self::Runner => "orch-runner",
            Self::Shim => "orch-shim",
        }
    }

    /// Which part of a stack it is; a shim is none that could be started again.
    pub(super) fn service(self) -> Option<Service> {
        match self {
            Self::Ingest => Some(Service::Ingest),
            Self::Scheduler => Some(Service::Scheduler),
            Self::Runner => Some(Service::Runner(0)),
            Self::Shim => None,
        }
    }
}

/// What goes on when the steps are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scene {
    /// The first start of all, on an empty folder, with work coming in at once.
    First,
    /// Webhooks come in, their jobs are claimed and run to their ends.
    Work,
    /// SIGTERM while two agents run, and one of them ends meanwhile.
    Stop,
    /// The start after that, and what follows.
    Start,
}

/// When in a step the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The call is not made.
    Before,
    /// Half of what was to be written is.
    Torn,
    /// The call is made, and the process does not hear of it.
    After,
}

impl Moment {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Torn => "torn",
            Self::After => "after",
        }
    }

    /// The moments that a step has.
    pub(super) fn of(step: &str) -> &'static [Self] {
        let written = ["write ", "pwrite ", "send "].iter().any(|call| step.starts_with(call));
        if written { &[Self::Before, Self::Torn, Self::After] } else { &[Self::Before, Self::After] }
    }
}

/// One kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Who dies.
    pub victim: Victim,
    /// In which scene.
    pub scene: Scene,
    /// At which call on what; a peer is named by its service.
    pub step: String,
    /// At its how many-th time, from 1.
    pub nth: usize,
    /// At which moment of it.
    pub moment: Moment,
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { victim, scene, step, nth, moment } = self;
        write!(out, "{} in {scene:?}: {} {step}, time {nth}", victim.program(), moment.word())
    }
}

/// So many of them, spread evenly over all.
pub fn spread(points: Vec<Point>, count: usize) -> Vec<Point> {
    let all = points.len();
    if count >= all {
        return points;
    }
    let taken: Vec<usize> = (0..count).map(|number| (number * all + all / 2) / count).collect();
    let mut next = taken.into_iter().peekable();
    let mut chosen = Vec::with_capacity(count);
    for (number, point) in points.into_iter().enumerate() {
        if next.next_if_eq(&number).is_some() {
            chosen.push(point);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::{Moment, Point, Scene, Victim, spread};

    #[test]
    fn a_sample_is_spread_over_all_and_never_repeats() {
        let point = |nth| Point {
            victim: Victim::Shim,
            scene: Scene::Work,
            step: "fsync outcome.json.tmp".into(),
            nth,
            moment: Moment::After,
        };
        let all: Vec<Point> = (0..10).map(point).collect();
        let chosen = |count| spread(all.clone(), count).iter().map(|point| point.nth).collect::<Vec<_>>();
        assert_eq!(chosen(3), [1, 5, 8]);
        assert_eq!(chosen(1), [5]);
        assert_eq!(chosen(10), (0..10).collect::<Vec<_>>());
        assert_eq!(chosen(99).len(), 10);
    }
}
