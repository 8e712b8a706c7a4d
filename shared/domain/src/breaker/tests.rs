use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::account::AccountRecord;
use crate::admission::{AccountTerms, Candidate, Facts, LiveFacts, NodeFacts, ProjectLimits, Serial, admit};
use crate::budget::Amount;
use crate::{Account, Incarnation, JobId, NodeId};

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);
const TERMS: BreakerTerms = BreakerTerms { threshold: 3, pause: Duration::from_mins(5) };

fn open_breaker() -> Breaker {
    Breaker { consecutive_transient: 3, opening: Opening(1), open_until: Some(NOW.plus(TERMS.pause)) }
}

#[test]
fn it_opens_at_the_threshold_and_a_sign_of_life_starts_the_count_anew() {
    let mut breaker = Breaker::default();
    let mut said = |said| {
        let turn = breaker.hear(said, breaker.opening, NOW, TERMS);
        (breaker.consecutive_transient, turn)
    };
    let rows = [
        said(Said::Faltered),
        said(Said::Faltered),
        said(Said::Nothing),
        said(Said::Answered),
        said(Said::Faltered),
        said(Said::Faltered),
        said(Said::Faltered),
    ];
    let opened = Some(Turn::Opened { until: NOW.plus(TERMS.pause) });
    let expected = [(1, None), (2, None), (2, None), (0, None), (1, None), (2, None), (3, opened)];
    assert_eq!(rows, expected);
    assert_eq!(breaker, open_breaker());
}

#[test]
fn it_is_half_open_once_the_pause_is_over() {
    let until = NOW.plus(TERMS.pause);
    let just_before = Timestamp::from_ms(until.as_ms() - 1);
    assert_eq!(Breaker::default().state(NOW), BreakerState::Closed);
    assert_eq!(open_breaker().state(just_before), BreakerState::Open { until });
    assert_eq!(open_breaker().state(until), BreakerState::HalfOpen);
}

#[test]
fn a_probe_closes_it_or_opens_it_again_without_another_alert() {
    let later = NOW.plus(TERMS.pause);
    let mut failed = open_breaker();
    assert_eq!(failed.hear(Said::Faltered, Opening(1), later, TERMS), None);
    let until = later.plus(TERMS.pause);
    let again = Breaker { consecutive_transient: 4, opening: Opening(2), open_until: Some(until) };
    assert_eq!(failed, again);

    let mut told_nothing = open_breaker();
    assert_eq!(told_nothing.hear(Said::Nothing, Opening(1), later, TERMS), None);
    assert_eq!(told_nothing, open_breaker());

    let mut answered = open_breaker();
    assert_eq!(answered.hear(Said::Answered, Opening(1), later, TERMS), Some(Turn::Closed));
    assert_eq!(answered, Breaker { opening: Opening(1), ..Breaker::default() });
}

#[test]
fn runs_claimed_before_an_opening_never_move_it() {
    for said in [Said::Nothing, Said::Answered, Said::Faltered] {
        let mut breaker = open_breaker();
        assert_eq!(breaker.hear(said, Opening(0), NOW.plus(TERMS.pause), TERMS), None);
        assert_eq!(breaker, open_breaker(), "{said:?}");
    }
}

#[test]
fn each_verdict_says_one_thing_of_the_provider() {
    let transient = |retry_at| {
        move |reason: &TransientReason| {
            let said = Said::of(&Class::Transient { reason: *reason, retry_at });
            (reason.as_str(), said)
        }
    };
    let permanent =
        |reason: &PermanentReason| (reason.as_str(), Said::of(&Class::Permanent { reason: *reason }));
    let of = |wanted: Said, said: Vec<(&'static str, Said)>| {
        let words: Vec<_> =
            said.into_iter().filter(|(_, said)| *said == wanted).map(|(word, _)| word).collect();
        words.join(" ")
    };
    let timed: Vec<_> = TransientReason::ALL.iter().map(transient(Some(NOW))).collect();
    assert_eq!(of(Said::Nothing, timed.clone()), "usage_limit");
    assert_eq!(of(Said::Faltered, timed), "rate_limit overloaded server_error network timeout");
    let untimed: Vec<_> = TransientReason::ALL.iter().map(transient(None)).collect();
    assert_eq!(of(Said::Faltered, untimed), "rate_limit usage_limit overloaded server_error network timeout");
    let permanent: Vec<_> = PermanentReason::ALL.iter().map(permanent).collect();
    assert_eq!(
        of(Said::Answered, permanent.clone()),
        "invalid_request context_length max_turns agent_failure"
    );
    assert_eq!(
        of(Said::Nothing, permanent),
        "auth billing crash network max_runtime idle memory_limit disk_limit"
    );
    assert_eq!(Said::of(&Class::Success), Said::Answered);
}

/// One account, its live runs, and a clock that may step back.
struct World {
    record: AccountRecord,
    live: BTreeMap<i64, LiveFacts>,
    now: Timestamp,
    jobs: i64,
}

#[derive(Clone, Debug)]
enum Step {
    /// Due and early jobs come, and what admission lets start starts.
    Claim(u8, u8),
    /// The n-th live run ends.
    End(usize, Said),
    /// Time passes, in seconds.
    Pass(i64),
    Reset,
}

fn any_step() -> impl Strategy<Value = Step> {
    let said = prop_oneof![1 => Just(Said::Nothing), 1 => Just(Said::Answered), 4 => Just(Said::Faltered)];
    prop_oneof![
        4 => (0_u8..4, 0_u8..3).prop_map(|(due, early)| Step::Claim(due, early)),
        6 => (0_usize..8, said).prop_map(|(run, said)| Step::End(run, said)),
        4 => (-60_i64..400).prop_map(Step::Pass),
        1 => Just(Step::Reset),
    ]
}

impl World {
    fn new() -> Self {
        let record = AccountRecord::new(Account("default".to_owned()));
        Self { record, live: BTreeMap::new(), now: NOW, jobs: 0 }
    }

    fn candidate(&mut self, early: bool) -> Candidate {
        self.jobs += 1;
        Candidate {
            job: JobId(self.jobs),
            project: "shop".to_owned(),
            work_item: self.jobs.to_string(),
            chain: String::new(),
            stage: "review".to_owned(),
            own_prompt: false,
            priority: 0,
            available_at: if early { self.now.plus(Duration::from_secs(1)) } else { self.now },
            early,
            prefers: None,
        }
    }

    /// What a store does: facts in, starts out. Gives how many due and early jobs started.
    fn claim(&mut self, due: u8, early: u8) -> (usize, usize) {
        let limits =
            ProjectLimits { concurrency_max: None, serial: Serial::None, ..ProjectLimits::default() };
        let mut facts = Facts {
            concurrency_max: 100,
            projects: [("shop".to_owned(), limits)].into(),
            stages: [("review".to_owned(), None)].into(),
            nodes: ["a", "b"].map(|name| self.node(name)).into(),
            live: self.live.values().cloned().collect(),
            account_terms: AccountTerms { breaker: TERMS, quota_reserve: None },
            ..Facts::default()
        };
        facts.take_accounts([&self.record], self.now);
        let mut candidates: Vec<Candidate> = (0..due).map(|_| self.candidate(false)).collect();
        candidates.extend((0..early).map(|_| self.candidate(true)));
        let admission = admit(candidates.clone(), &facts);
        let mut started = (0, 0);
        for (job, node) in admission.starts {
            let early = candidates.iter().any(|candidate| candidate.job == job && candidate.early);
            started = if early { (started.0, started.1 + 1) } else { (started.0 + 1, started.1) };
            let run = LiveFacts {
                job,
                project: "shop".to_owned(),
                work_item: job.to_string(),
                chain: String::new(),
                node: facts.nodes[node].node.clone(),
                account: self.record.account.clone(),
                aside: Amount::default(),
                opening: self.record.breaker.opening,
                offered_at: self.now,
            };
            self.live.insert(job.0, run);
        }
        started
    }

    fn node(&self, name: &str) -> NodeFacts {
        NodeFacts {
            node: NodeId(name.to_owned()),
            incarnation: Incarnation(1),
            account: self.record.account.clone(),
            slots: 4,
            tier: crate::containment::Tier::Sealed,
            blocked: None,
            blocked_until: None,
        }
    }

    fn probes(&self) -> usize {
        let breaker = self.record.breaker;
        if breaker.open_until.is_none() {
            return 0;
        }
        self.live.values().filter(|run| run.opening == breaker.opening).count()
    }
}

proptest! {
    #[test]
    fn never_two_probes_and_never_a_start_while_open(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            let before = world.record.breaker;
            match step {
                Step::Claim(due, early) => {
                    let state = before.state(world.now);
                    let probing = world.probes();
                    let (due_started, early_started) = world.claim(due, early);
                    match state {
                        BreakerState::Open { .. } => prop_assert_eq!((due_started, early_started), (0, 0)),
                        BreakerState::HalfOpen => {
                            let place = usize::from(probing == 0);
                            prop_assert_eq!(due_started, place.min(due.into()));
                            prop_assert_eq!(early_started, (place - due_started).min(early.into()));
                        }
                        BreakerState::Closed => prop_assert_eq!(early_started, 0, "nothing starts before its time"),
                    }
                }
                Step::End(index, said) => {
                    let Some(id) = world.live.keys().nth(index).copied() else { continue };
                    let run = world.live.remove(&id).expect("it lives");
                    let turn = world.record.breaker.hear(said, run.opening, world.now, TERMS);
                    let after = world.record.breaker;
                    if run.opening != before.opening || said == Said::Nothing {
                        prop_assert_eq!((after, turn), (before, None), "it says nothing here");
                    }
                    prop_assert_eq!(turn.is_some(), before.open_until.is_none() != after.open_until.is_none());
                    if after.open_until.is_none() {
                        prop_assert!(after.consecutive_transient < TERMS.threshold);
                    }
                }
                Step::Pass(seconds) => {
                    world.now = Timestamp::from_ms(world.now.as_ms() + seconds * 1000);
                }
                Step::Reset => {
                    world.record.breaker.close();
                    prop_assert_eq!(world.record.breaker.state(world.now), BreakerState::Closed);
                }
            }
            prop_assert!(world.probes() <= 1, "{} probes", world.probes());
            prop_assert!(world.record.breaker.opening >= before.opening);
        }
    }

    /// However many jobs wait, and however often the pause ends: no more runs are out than open it, then one a time.
    #[test]
    fn a_provider_that_always_falters_is_asked_no_more_often_than_it_must(
        order in prop::collection::vec(0_usize..4, 0..60),
        slots_used in 1_u8..=3,
    ) {
        let mut world = World::new();
        let (mut asked, mut pauses) = (0_usize, 0_usize);
        for next in order {
            let room = usize::from(slots_used).saturating_sub(world.live.len());
            let (due, early) = world.claim(u8::try_from(room).expect("small"), 0);
            asked += due + early;
            let Some(id) = world.live.keys().nth(next % world.live.len().max(1)).copied() else {
                world.now = world.record.breaker.open_until.expect("nothing lives, so it is open");
                pauses += 1;
                continue;
            };
            let run = world.live.remove(&id).expect("it lives");
            world.record.breaker.hear(Said::Faltered, run.opening, world.now, TERMS);
        }
        prop_assert!(asked <= TERMS.threshold as usize + pauses, "{asked} runs in {pauses} pauses");
    }
}
