//! The night's plan: drawn from a seed before anything runs, with what each item must come to. The same seed is the same plan.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::script::{Fault, Reading, Round, Says, Script, Turn};
use crate::harness::Service;

/// How often the built-in pipeline sends an item back from one stage.
const BOUNCES_MAX: u32 = 3;
/// How long an agent works, in milliseconds.
const WORK_MS: std::ops::Range<u64> = 0..120;
/// After a push, until the forge's tests are over, in milliseconds: before the review or after it.
const TESTED_AFTER_MS: std::ops::Range<u64> = 0..3000;
/// The share of turns whose first try ends badly, in percent.
const FAULTS_PERCENT: u32 = 6;

/// What the night's items are like, and how many there are of each.
const KINDS: [(&str, usize); 14] = [
    ("goes straight through", 12),
    ("has red tests", 3),
    ("is sent back by review", 6),
    ("is sent back by review twice", 3),
    ("is sent back by testing", 4),
    ("is sent back by review, then by testing", 2),
    ("has a review that is asked for its form", 2),
    ("has a test whose form turns out a fail", 1),
    ("has an analysis that is asked for its form", 1),
    ("has a review of another commit", 1),
    ("has a review that nobody can read", 1),
    ("is sent back too often", 1),
    ("is refused by analysis", 1),
    ("is not deployed", 2),
];

/// A whole night.
#[derive(Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// The work items.
    pub items: Vec<Planned>,
    /// What is done to the services.
    pub blows: Vec<Blow>,
}

/// One work item.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What it is like.
    pub kind: &'static str,
    /// What its agents do.
    pub script: Script,
    /// After each of its pushes, until the forge's tests are over, in milliseconds.
    pub tested_after_ms: u64,
}

/// A part is killed once so many jobs have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blow {
    /// How many.
    pub after_jobs: usize,
    /// Which part.
    pub victim: Service,
}

/// A job that the plan asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    /// Its stage.
    pub(super) stage: &'static str,
    /// Whether it asks for the form of a verdict alone.
    pub(super) is_reformat: bool,
    /// Which of the item's commits it is about, or makes.
    pub(super) round: Option<usize>,
}

/// Where an item must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Deployed.
    Done,
    /// With a person, for this reason.
    NeedsYou(&'static str),
}

impl Plan {
    /// Draws a night of forty items with so many blows.
    pub fn draw(seed: u64, blows: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut items: Vec<Planned> = KINDS
            .into_iter()
            .flat_map(|(kind, count)| std::iter::repeat_n(kind, count))
            .map(|kind| Planned {
                kind,
                script: shaken(script_of(kind), &mut random),
                tested_after_ms: random.random_range(TESTED_AFTER_MS),
            })
            .collect();
        items.shuffle(&mut random);
        let mut plan = Self { seed, items, blows: Vec::new() };
        plan.blows = plan.draw_blows(blows, &mut random);
        plan
    }

    /// How many jobs it asks for.
    pub fn jobs(&self) -> usize {
        self.items.iter().map(|item| walk(&item.script).0.len()).sum()
    }

    /// Every part in turn, in a random order, at about equal distances.
    fn draw_blows(&self, count: usize, random: &mut StdRng) -> Vec<Blow> {
        let gap = self.jobs() / (count + 1);
        let mut victims = Vec::new();
        while victims.len() < count {
            let mut all = [
                Service::Scheduler,
                Service::Runner(0),
                Service::Ingest,
                Service::Scheduler,
                Service::Runner(1),
                Service::Console,
            ];
            all.shuffle(random);
            victims.extend(all);
        }
        let jitter = |random: &mut StdRng| random.random_range(0..=gap / 2);
        (1..=count)
            .zip(victims)
            .map(|(nth, victim)| Blow { after_jobs: nth * gap - jitter(random), victim })
            .collect()
    }
}

fn script_of(kind: &str) -> Script {
    let turn = Turn::says;
    let passing = Round::default;
    let reviewed = |reviewer: Turn| Round { reviewer, ..passing() };
    let tested = |tester: Turn| Round { tester, ..passing() };
    let asked = |says, again| Turn { says, again, ..Turn::default() };
    let usual = Script {
        analyst: turn(Says::Pass),
        architect: turn(Says::Pass),
        rounds: vec![passing()],
        deployer: turn(Says::Pass),
    };
    let rounds = match kind {
        "has red tests" => vec![Round { red: true, ..passing() }, passing()],
        "is sent back by review" => vec![reviewed(turn(Says::Fail)), passing()],
        "is sent back by review twice" => {
            vec![reviewed(turn(Says::Fail)), reviewed(turn(Says::Fail)), passing()]
        }
        "is sent back by testing" => vec![tested(turn(Says::Fail)), passing()],
        "is sent back by review, then by testing" => {
            vec![reviewed(turn(Says::Fail)), tested(turn(Says::Fail)), passing()]
        }
        "has a review that is asked for its form" => vec![reviewed(asked(Says::Prose, Says::Pass))],
        "has a test whose form turns out a fail" => vec![tested(asked(Says::Two, Says::Fail)), passing()],
        "has a review of another commit" => vec![reviewed(asked(Says::OtherHead, Says::Fail)), passing()],
        "has a review that nobody can read" => vec![reviewed(asked(Says::Shape, Says::Prose))],
        "is sent back too often" => vec![reviewed(turn(Says::Fail)); BOUNCES_MAX as usize + 1],
        _ => usual.rounds.clone(),
    };
    match kind {
        "has an analysis that is asked for its form" => {
            Script { analyst: asked(Says::Prose, Says::Pass), ..usual }
        }
        "is refused by analysis" => Script { analyst: turn(Says::Fail), ..usual },
        "is not deployed" => Script { deployer: turn(Says::Fail), ..usual },
        _ => Script { rounds, ..usual },
    }
}

/// Every turn takes a while, and some begin badly.
fn shaken(mut script: Script, random: &mut StdRng) -> Script {
    let rounds = script
        .rounds
        .iter_mut()
        .flat_map(|round| [&mut round.developer, &mut round.reviewer, &mut round.tester]);
    for turn in [&mut script.analyst, &mut script.architect, &mut script.deployer].into_iter().chain(rounds) {
        turn.work_ms = random.random_range(WORK_MS);
        if random.random_range(0..100) < FAULTS_PERCENT {
            turn.fault = Some(if random.random() { Fault::Crash } else { Fault::NoResult });
        }
    }
    script
}

/// The jobs that an item must come to, in their order, and where it must end, by the rules of docs/PIPELINE.md.
pub(super) fn walk(script: &Script) -> (Vec<Step>, End) {
    let mut steps = Vec::new();
    for (stage, turn) in [("analysis", &script.analyst), ("architecture", &script.architect)] {
        match play(&mut steps, stage, turn, None) {
            Reading::Pass => {}
            Reading::Fail => return (steps, End::NeedsYou("failed")),
            Reading::Unreadable => return (steps, End::NeedsYou("unreadable")),
        }
    }
    let (mut round, mut bounces) = (0, [0; 2]);
    'rounds: loop {
        steps.push(Step { stage: "development", is_reformat: false, round: Some(round) });
        let Some(scene) = script.rounds.get(round) else { return (steps, End::NeedsYou("failed")) };
        for (place, (stage, turn)) in
            [("review", &scene.reviewer), ("testing", &scene.tester)].into_iter().enumerate()
        {
            match play(&mut steps, stage, turn, Some(round)) {
                // The tests of the commit are asked for where the review passed.
                Reading::Pass if stage == "review" && scene.red => {
                    bounces[place] += 1;
                    round += 1;
                    continue 'rounds;
                }
                Reading::Pass => {}
                Reading::Unreadable => return (steps, End::NeedsYou("unreadable")),
                Reading::Fail if bounces[place] >= BOUNCES_MAX => return (steps, End::NeedsYou("bounces")),
                Reading::Fail => {
                    bounces[place] += 1;
                    round += 1;
                    continue 'rounds;
                }
            }
        }
        break;
    }
    // The deployer is asked for no verdict; one that says fail counts all the same.
    steps.push(Step { stage: "deploy", is_reformat: false, round: Some(round) });
    let end = if script.deployer.says == Says::Fail { End::NeedsYou("failed") } else { End::Done };
    (steps, end)
}

fn play(steps: &mut Vec<Step>, stage: &'static str, turn: &Turn, round: Option<usize>) -> Reading {
    let judges = matches!(stage, "review" | "testing");
    steps.push(Step { stage, is_reformat: false, round });
    if turn.is_asked_again(judges) {
        steps.push(Step { stage, is_reformat: true, round });
    }
    turn.reading(judges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_night_and_every_kind_is_in_it() {
        let (one, same, other) = (Plan::draw(7, 16), Plan::draw(7, 16), Plan::draw(8, 16));
        let kinds =
            |plan: &Plan| plan.items.iter().map(|item| (item.kind, item.script.clone())).collect::<Vec<_>>();
        assert_eq!((kinds(&one), &one.blows), (kinds(&same), &same.blows));
        assert_ne!(kinds(&one), kinds(&other));
        assert_eq!(one.items.len(), 40);
        assert!(one.blows.windows(2).all(|pair| pair[0].after_jobs < pair[1].after_jobs), "{:?}", one.blows);
        assert!(one.jobs() > 240 && one.blows.last().is_some_and(|blow| blow.after_jobs < one.jobs()));
        let done = one.items.iter().filter(|item| walk(&item.script).1 == End::Done).count();
        assert_eq!(done, 35, "most go through all six stages");
    }

    #[test]
    fn a_walk_is_what_the_pipelines_rules_say() {
        let stages = |kind: &str| {
            let (steps, end) = walk(&script_of(kind));
            let shown =
                |step: &Step| if step.is_reformat { "?".to_owned() } else { step.stage[..1].to_owned() };
            (steps.iter().map(shown).collect::<String>(), end)
        };
        assert_eq!(stages("goes straight through"), ("aadrtd".to_owned(), End::Done));
        assert_eq!(stages("is sent back by review, then by testing"), ("aadrdrtdrtd".to_owned(), End::Done));
        assert_eq!(stages("has red tests"), ("aadrdrtd".to_owned(), End::Done));
        assert_eq!(stages("has a test whose form turns out a fail"), ("aadrt?drtd".to_owned(), End::Done));
        assert_eq!(stages("has a review of another commit"), ("aadr?drtd".to_owned(), End::Done));
        assert_eq!(
            stages("has a review that nobody can read"),
            ("aadr?".to_owned(), End::NeedsYou("unreadable"))
        );
        assert_eq!(stages("is sent back too often"), ("aadrdrdrdr".to_owned(), End::NeedsYou("bounces")));
        assert_eq!(stages("is not deployed"), ("aadrtd".to_owned(), End::NeedsYou("failed")));
    }
}
