use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_000);

fn job(status: &str) -> v1::Job {
    v1::Job {
        id: 7,
        project: "shop".to_owned(),
        work_item: "SHOP-12".to_owned(),
        stage: "review".to_owned(),
        role: "reviewer".to_owned(),
        status: status.to_owned(),
        created_at: "2026-11-22T03:15:18Z".to_owned(),
        updated_at: "2026-11-22T03:17:08Z".to_owned(),
        ..v1::Job::default()
    }
}

fn waiting(reason: &str, until: Option<&str>) -> v1::Waiting {
    v1::Waiting { reason: reason.to_owned(), until: until.map(str::to_owned), code: String::new() }
}

#[test]
fn jobs_are_a_table_with_the_reason_to_wait() {
    let queued = v1::Job {
        transient_attempts: 1,
        waiting: Some(waiting("rate_limit: backing off", Some("2026-11-22T03:17:48Z"))),
        ..job("queued")
    };
    let failed = v1::Job { id: 12, attempts: 3, failure: Some("agent_failure".to_owned()), ..job("failed") };
    assert_eq!(
        job_table(&[failed, queued], Paint::default(), NOW),
        "JOB  STATUS  PROJECT  WORK ITEM  STAGE   SPENT  CHANGED  NOTE\n\
         12   failed  shop     SHOP-12    review  3/0/0  10s ago  agent_failure\n\
         7    queued  shop     SHOP-12    review  0/1/0  10s ago  rate_limit: backing off, in 30s\n"
    );
}

#[test]
fn a_job_shows_what_its_runs_cost() {
    let run = v1::Run {
        run_id: "r1".to_owned(),
        runner: "n1".to_owned(),
        class: Some("success".to_owned()),
        reason: Some("none".to_owned()),
        ended_at: Some("2026-11-22T03:17:08Z".to_owned()),
        exit_code: Some(0),
        session_id: Some("s1".to_owned()),
        cost_usd: Some(0.01234),
        turns: Some(2),
        api_retries: 3,
        resumed_session: Some("s1".to_owned()),
        ..v1::Run::default()
    };
    let detail = v1::JobDetail {
        job: Some(job("done")),
        runs: vec![run],
        tokens_saved: 1234,
        ..v1::JobDetail::default()
    };
    assert_eq!(
        detail_text(&detail, Paint::default(), NOW),
        "job        7\nstatus     done\nproject    shop\nwork item  SHOP-12\nstage      review (reviewer)\n\
         created    2m 0s ago\nspent      0 failing tries, 0 limits, 0 lost runners\n\
         saved      1234 tokens, by going on with what earlier runs had begun\n\n\
         RUN  RESULT   REASON  WHEN     EXIT  COST     TURNS  RETRIES  RUNNER  SESSION\n\
         r1   success  none    10s ago  0     $0.0123  2      3        n1      s1 (resumed)\n"
    );
}

#[test]
fn why_says_what_a_job_waits_for_and_what_to_do() {
    let said = |job: v1::Job| explanation(&v1::JobDetail { job: Some(job), ..v1::JobDetail::default() }, NOW);
    let held = v1::Job { waiting: Some(waiting("account default is held: auth", None)), ..job("queued") };
    assert_eq!(said(held), "job 7 waits: account default is held: auth\n");
    let failed = v1::Job { failure: Some("context_length".to_owned()), ..job("failed") };
    assert_eq!(
        said(failed),
        "job 7 failed: context_length; `orch logs 7` shows what it printed, `orch retry 7` queues it again\n"
    );
    assert_eq!(said(job("done")), "job 7 is done\n");
}

#[test]
fn why_shows_the_chain_of_conditions_and_the_one_that_holds() {
    let condition = |name: &str, state: &str| v1::Condition {
        name: name.to_owned(),
        state: state.to_owned(),
        text: format!("it is {name}"),
    };
    let why = v1::Why {
        conditions: vec![condition("due", "met"), condition("free", "holds"), condition("last", "unknown")],
        ends: "by itself".to_owned(),
    };
    assert_eq!(
        conditions(&v1::JobDetail { why: Some(why), ..v1::JobDetail::default() }, Paint::default()),
        "it goes on by itself\n\nSTATE    CONDITION\nmet      it is due\nholds    it is free\nunknown  it is last\n"
    );
    assert_eq!(conditions(&v1::JobDetail::default(), Paint::default()), "");
}
