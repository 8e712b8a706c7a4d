//! Rows of a predecessor that worked, of one that was killed in the middle, and of one that people edited by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pipeline::parse;

const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_042);

fn pipeline() -> Pipeline {
    let toml = "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\nplane_identifier = \"SHOP\"\n\
        [[project]]\nname = \"tools\"\n\
        [[stage]]\nname = \"review\"\nrole = \"reviewer\"\nprompt = \"p.md\"\n\
        [[stage]]\nname = \"development\"\nrole = \"developer\"\nprompt = \"p.md\"\n";
    parse(toml).expect("a pipeline")
}

fn terms() -> Terms {
    Terms {
        source: "old".to_owned(),
        project: Some("tools".to_owned()),
        stages: BTreeMap::from([("coder".to_owned(), "development".to_owned())]),
    }
}

fn row(columns: &[(&str, Value)]) -> Row {
    columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn words(words: &str) -> Value {
    Value::Text(words.to_owned())
}

/// A queued job, with `more` in place of what it says.
fn job(id: i64, more: &[(&str, Value)]) -> Row {
    let mut job = row(&[
        ("id", Value::Integer(id)),
        ("task", words("SHOP-7")),
        ("agent", words("reviewer")),
        ("status", words("queued")),
    ]);
    job.extend(row(more));
    job
}

fn import(jobs: Vec<Row>) -> Import {
    plan(&Predecessor { jobs, runs: Vec::new() }, &pipeline(), &terms(), NOW)
}

fn why(more: &[(&str, Value)]) -> String {
    let import = import(vec![job(1, more)]);
    assert_eq!((import.jobs.len(), import.left.len()), (0, 1), "{import:?}");
    import.left[0].why.clone()
}

#[test]
fn a_queued_job_comes_over_with_what_it_spent() {
    let spent = [("attempts", Value::Integer(2)), ("transient_attempts", words("5"))];
    let taken = import(vec![job(
        3,
        &[spent.as_slice(), &[("available_at", Value::Integer(1_795_317_500))]].concat(),
    )]);
    assert_eq!(
        (taken.queued, taken.requeued, taken.cleaned.len(), taken.left.len()),
        (1, 0, 0, 0),
        "{taken:?}"
    );
    let made = &taken.jobs[0];
    assert_eq!(
        (made.project.as_str(), made.work_item.as_str(), made.stage.as_str(), made.role.as_str()),
        ("shop", "SHOP-7", "review", "reviewer")
    );
    assert_eq!(made.budgets, Budgets { attempts: 2, transient_attempts: 5, infra_attempts: 0 });
    assert_eq!(made.available_at, Timestamp::from_ms(1_795_317_500_000));
    assert_eq!(made.semantic_key.as_deref(), Some("import:old:3"));
}

/// The row that once wedged the predecessor's queue for ever: queued, with the pid of a run that is dead.
#[test]
fn a_queued_job_that_owns_a_process_loses_it() {
    let owner = [
        ("run_id", words("r-1")),
        ("pid", Value::Integer(4242)),
        ("started_at", words("2026-11-20 08:00:00")),
    ];
    for count in 1..=owner.len() {
        let taken = import(vec![job(1, &owner[..count])]);
        assert_eq!((taken.queued, taken.cleaned), (1, BTreeMap::from([(Fault::QueuedWithAnOwner, 1)])));
    }
    let empty = [("run_id", words(" ")), ("pid", Value::Null)];
    assert_eq!(import(vec![job(1, &empty)]).cleaned, BTreeMap::new(), "an empty text is nothing");
}

#[test]
fn a_running_job_runs_again_and_at_once() {
    let later = ("available_at", Value::Integer(NOW.as_ms() / 1_000 + 60));
    let running = ("status", words("Running"));
    let owned = import(vec![job(1, &[running.clone(), later.clone(), ("pid", Value::Integer(7))])]);
    assert_eq!((owned.requeued, owned.cleaned.len(), owned.jobs[0].available_at), (1, 0, NOW));
    let without = import(vec![job(1, &[running, later])]);
    assert_eq!((without.requeued, without.cleaned), (1, BTreeMap::from([(Fault::RunningWithoutAnOwner, 1)])));
}

#[test]
fn what_is_over_stays_where_it_is() {
    let taken = import(
        ["done", "FAILED", "failed", "cancelled"]
            .iter()
            .zip(1..)
            .map(|(status, id)| job(id, &[("status", words(status)), ("agent", Value::Null)]))
            .collect(),
    );
    let expected = [("cancelled", 1), ("done", 1), ("failed", 2)];
    assert_eq!(taken.over, expected.map(|(word, count)| (word.to_owned(), count)).into());
    assert_eq!((taken.jobs.len(), taken.left.len()), (0, 0));
}

#[test]
fn a_row_that_cannot_come_says_why() {
    assert_eq!(
        why(&[("status", words("limbo"))]),
        "nobody knows what its status \"limbo\" means: mend the row, or end it there"
    );
    assert_eq!(why(&[("status", Value::Null)]), "it has no status");
    assert_eq!(
        why(&[("agent", words("poet"))]),
        "no stage or role of orch.toml is named \"poet\": say --stage poet=STAGE"
    );
    assert_eq!(why(&[("agent", Value::Bytes)]), "it names no agent");
    assert_eq!(why(&[("project", words("elsewhere"))]), "orch.toml has no project \"elsewhere\"");
    assert_eq!(why(&[("task", words(&"x".repeat(201)))]), "its task is longer than 200 bytes");
    let twice = import(vec![job(1, &[]), job(1, &[])]);
    assert_eq!(twice.left[0].why, "another row of the file has this id");
    let nowhere = Terms { project: None, ..terms() };
    let old = Predecessor { jobs: vec![job(1, &[("task", words("OTHER-1"))])], runs: Vec::new() };
    assert_eq!(
        plan(&old, &pipeline(), &nowhere, NOW).left[0].why,
        "it names no project, and its task is of none in orch.toml: say --project PROJECT"
    );
}

#[test]
fn a_project_is_found_by_its_name_its_repository_and_its_task() {
    let found = |more: &[(&str, Value)]| import(vec![job(1, more)]).jobs[0].project.clone();
    assert_eq!(found(&[("project", words("tools"))]), "tools");
    assert_eq!(found(&[("project", words("Acme/Shop"))]), "shop");
    assert_eq!(found(&[("task", words("acme/shop#12"))]), "shop");
    assert_eq!(found(&[("task", words("SHOPPING-1"))]), "tools", "as --project says");
    assert_eq!(found(&[("task", Value::Null)]), "tools");
    let made = import(vec![job(9, &[("task", Value::Null), ("agent", words("coder"))])]).jobs.remove(0);
    assert_eq!((made.work_item.as_str(), made.stage.as_str()), ("old-9", "development"));
}

#[test]
fn columns_that_nobody_knows_are_named_and_counts_that_cannot_be_are_none() {
    let strange =
        [("mood", words("fine")), ("attempts", Value::Integer(-3)), ("available_at", words("soon"))];
    let old = Predecessor {
        jobs: vec![job(1, &strange)],
        runs: vec![row(&[("job_id", Value::Integer(1)), ("colour", Value::Null)])],
    };
    let taken = plan(&old, &pipeline(), &terms(), NOW);
    assert_eq!(taken.unknown_columns, ["agent_runs.colour", "jobs.mood"].map(str::to_owned).into());
    assert_eq!(taken.cleaned, BTreeMap::from([(Fault::ImpossibleCount, 1), (Fault::UnreadableTime, 1)]));
    assert_eq!((taken.jobs[0].budgets, taken.jobs[0].available_at), (Budgets::default(), NOW));
    assert_eq!(taken.runs, 1);
}

#[test]
fn times_are_read_in_every_form() {
    let at = Timestamp::from_ms(1_795_317_438_500);
    for (value, expected) in [
        (Value::Integer(1_795_317_438_500), at),
        (Value::Real(1_795_317_438.5), at),
        (words("2026-11-22T03:17:18.500Z"), at),
        (words("2026-11-22 03:17:18.500"), at),
        (words("2026-11-22T05:17:18.5+02:00"), at),
        (words("1795317438500"), at),
        (Value::Integer(1_795_317_438), Timestamp::from_ms(1_795_317_438_000)),
    ] {
        assert_eq!(value.instant(), Some(expected), "{value:?}");
    }
    for value in [words("soon"), Value::Real(f64::NAN), Value::Integer(-1), Value::Bytes] {
        assert_eq!(value.instant(), None, "{value:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Real),
        ".{0,12}".prop_map(Value::Text),
        prop::sample::select(vec!["queued", "running", "done", "reviewer", "SHOP-1", "shop", "12"])
            .prop_map(words),
        Just(Value::Bytes),
    ]
}

proptest! {
    /// Every row is somewhere afterwards, and nothing that comes over owns anything.
    #[test]
    fn no_row_is_lost(
        rows in prop::collection::vec(
            prop::collection::btree_map(prop::sample::select(JOB_COLUMNS.map(str::to_owned).to_vec()), any_value(), 0..11),
            0..12,
        )
    ) {
        let count = rows.len();
        let taken = import(rows);
        let over: u32 = taken.over.values().sum();
        prop_assert_eq!(taken.jobs.len() + over as usize + taken.left.len(), count);
        prop_assert_eq!(taken.queued + taken.requeued, u32::try_from(taken.jobs.len()).unwrap());
        let keys: BTreeSet<_> = taken.jobs.iter().map(|job| job.semantic_key.clone()).collect();
        prop_assert_eq!(keys.len(), taken.jobs.len());
    }
}
