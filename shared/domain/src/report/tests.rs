use std::collections::BTreeMap;

use super::words::Words;
use super::*;
use crate::delivery::Payload;
use crate::job::{JobKind, Origin};
use crate::pipeline::{Pipeline, parse};
use crate::steps::{self, StepFacts, StepKind, StepState};
use crate::verdict;
use crate::work_item::decision::{Word, decide};
use crate::work_item::step::{JobEnd, Scene, step};
use crate::work_item::{ItemChange, ItemState, WorkItem};
use crate::{Budgets, Epoch, Job, JobId, JobState, Timestamp};

const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_042);
const ISSUE: &str = "00000000-0000-4000-9000-00000000000c";
const TERMS: Terms<'_> =
    Terms { plane: true, gitea: true, console_url: Some("https://orch.example/"), secrets: &["hunter2"] };

const ORCH_TOML: &str = r#"
[[project]]
name = "shop"
gitea_repo = "acme/shop"
plane_workspace = "acme"
plane_workspace_id = "00000000-0000-4000-8000-000000000001"
plane_project_id = "00000000-0000-4000-8000-000000000002"
plane_identifier = "SHOP"
[project.report]
on_stage = { development = "started" }
on_done = "completed"
on_needs_you = "00000000-0000-4000-8000-000000000009"
on_cancelled = "cancelled"
[[project]]
name = "forge"
gitea_repo = "acme/forge"
[[project]]
name = "quiet"
gitea_repo = "acme/quiet"
report = { comments = false, statuses = false }
[[stage]]
name = "development"
role = "developer"
prompt = "p"
on_pass = "review"
[[stage]]
name = "review"
role = "reviewer"
prompt = "p"
gate = ["verdict"]
on_pass = "deploy"
on_fail = "development"
max_bounces = 1
[[stage]]
name = "deploy"
role = "deployer"
prompt = "p"
gate = ["approval"]
"#;

fn pipeline() -> Pipeline {
    parse(ORCH_TOML).unwrap()
}

fn sha(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn job(stage: &str, head: Option<String>) -> Job {
    Job {
        id: JobId(7),
        project: "shop".to_owned(),
        work_item: "SHOP-12".to_owned(),
        stage: stage.to_owned(),
        role: String::new(),
        priority: 0,
        budgets: Budgets::default(),
        epoch: Epoch(1),
        revision: 3,
        state: JobState::Queued { available_at: NOW },
        created_at: NOW,
        updated_at: NOW,
        trace_context: None,
        origin: Origin { head, ..Origin::default() },
    }
}

fn item(job: &Job) -> WorkItem {
    WorkItem {
        project: job.project.clone(),
        key: job.work_item.clone(),
        title: None,
        stage: job.stage.clone(),
        state: ItemState::Active,
        head: job.origin.head.clone(),
        bounces: BTreeMap::new(),
        hops: 0,
        chain: String::new(),
        standing: crate::work_item::Standing::Trusted,
        ended_because: None,
        revision: 4,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn of_plane() -> Payload {
    Payload { facts: [("issue_id".to_owned(), ISSUE.to_owned())].into(), ..Payload::default() }
}

fn says(verdict: &str, summary: &str) -> String {
    format!(
        "```json\n{{\"verdict\": \"{verdict}\", \"summary\": \"{summary}\", \"findings\": [\"one\"], \"head\": null}}\n```"
    )
}

/// What the end of `job` is told as, with what it does to `item`.
fn ended(job: &Job, item: &WorkItem, payload: &Payload, end: &JobEnd<'_>) -> (Vec<Post>, ItemChange) {
    let pipeline = pipeline();
    let scene = Scene { item, job, payload, pipeline: &pipeline, now: NOW };
    let change = step(&scene, end.clone());
    (of_end(&scene, end, &change, &TERMS), change)
}

fn done<'a>(message: &'a str, steps: &'a [StepFacts]) -> JobEnd<'a> {
    JobEnd::Done { verdict: verdict::read(message), message, steps }
}

/// Sink, key without the job, and what it says in short.
fn short(posts: &[Post]) -> Vec<(&'static str, String, String)> {
    let said = |says: &Says| match says {
        Says::IssueComment { html, .. } => html.clone(),
        Says::IssueState { state, .. } => format!("{state:?}"),
        Says::PullComment { body, .. } => body.clone(),
        Says::CommitStatus { sha, context, state, description, target_url } => {
            format!("{} {context} {} ({description}) {target_url}", &sha[..2], state.as_str())
        }
    };
    let key = |post: &Post| post.key.replace("7.1795317438042", "JOB");
    posts.iter().map(|post| (post.sink.as_str(), key(post), said(&post.letter.says))).collect()
}

fn own(value: (&'static str, &str, &str)) -> (&'static str, String, String) {
    (value.0, value.1.to_owned(), value.2.to_owned())
}

#[test]
fn a_pass_is_told_on_both_sides_and_as_a_status() {
    let job = job("review", Some(sha('a')));
    let message = says("pass", "all good");
    let (posts, _) = ended(&job, &item(&job), &of_plane(), &done(&message, &[]));
    assert_eq!(
        short(&posts),
        [
            own((
                "plane",
                "end/JOB/3",
                "<p><strong>review</strong> passed: deploy follows. (<a href=\"https://orch.example/jobs/7\">job 7</a>)</p>\
                 <blockquote><p>all good</p></blockquote><ul><li><p>one</p></li></ul>"
            )),
            own((
                "gitea",
                "end/JOB/3",
                "**review** passed: deploy follows. ([job 7](<https://orch.example/jobs/7>))\n\n```text\nall good\n- one\n```"
            )),
            own((
                "gitea",
                "status/JOB/3",
                "aa orch/review success (passed: deploy follows) https://orch.example/jobs/7"
            )),
        ]
    );
    let letter = &posts[0].letter;
    let issue = IssueRef::Id(ISSUE.parse().unwrap());
    assert!(matches!(&letter.says, Says::IssueComment { issue: found, .. } if *found == issue), "{letter:?}");
    let branch = PullRef::Branch("orch/SHOP-12".to_owned());
    let letter = &posts[1].letter;
    assert!(matches!(&letter.says, Says::PullComment { pull_request, .. } if *pull_request == branch));
    assert!(posts.iter().all(|post| post.lane() == "shop/SHOP-12"));
    let read: Letter = serde_json::from_str(&serde_json::to_string(letter).unwrap()).unwrap();
    assert_eq!(read, *letter);
}

#[test]
fn a_fail_a_bounce_too_many_and_a_given_up_job_say_what_follows() {
    let job = job("review", Some(sha('a')));
    let (mut item, message) = (item(&job), says("fail", "no"));
    let statuses = |posts: &[Post]| -> Vec<String> {
        short(posts)
            .into_iter()
            .filter(|(_, key, _)| key.starts_with("status"))
            .map(|(_, _, said)| said)
            .collect()
    };
    let states = |posts: &[Post]| -> Vec<String> {
        short(posts)
            .into_iter()
            .filter(|(_, key, _)| key.starts_with("state"))
            .map(|(_, _, said)| said)
            .collect()
    };
    let url = "https://orch.example/jobs/7";
    let (posts, _) = ended(&job, &item, &of_plane(), &done(&message, &[]));
    assert_eq!(statuses(&posts), [format!("aa orch/review failure (failed: development follows) {url}")]);
    assert_eq!(states(&posts), [""; 0]);

    item.bounces.insert("review".to_owned(), 1);
    let (posts, _) = ended(&job, &item, &of_plane(), &done(&message, &[]));
    assert_eq!(statuses(&posts), [format!("aa orch/review failure (failed, needs a person) {url}")]);
    assert_eq!(states(&posts), ["Id(00000000-0000-4000-8000-000000000009)"]);
    assert!(short(&posts)[0].2.contains("needs you: review failed and sent it back 1 times already"));

    let (posts, _) = ended(&job, &item, &of_plane(), &JobEnd::Failed { reason: "crash: failed 3 times" });
    assert_eq!(statuses(&posts), [format!("aa orch/review error (needs a person) {url}")]);
    assert!(short(&posts)[1].2.contains("was given up (crash: failed 3 times): `orch retry 7`"), "{posts:?}");

    let (posts, _) = ended(&job, &item, &of_plane(), &JobEnd::Cancelled);
    assert_eq!(statuses(&posts), [format!("aa orch/review error (was cancelled) {url}")]);
    assert_eq!(states(&posts), ["Group(\"cancelled\")"]);
    let (posts, _) = ended(&job, &item, &of_plane(), &JobEnd::Retried);
    assert_eq!(short(&posts).len(), 1);
    assert_eq!(statuses(&posts), [format!("aa orch/review pending (is tried again) {url}")]);
}

#[test]
fn what_is_not_over_or_not_about_the_newest_commit_is_told_in_no_words() {
    let job = job("review", Some(sha('a')));
    let (posts, change) = ended(&job, &item(&job), &of_plane(), &done("I think it is fine", &[]));
    assert_eq!((posts, change.next.unwrap().origin.kind), (Vec::new(), JobKind::Reformat));

    let newer = WorkItem { head: Some(sha('b')), ..item(&job) };
    let message = says("pass", "old news");
    let (posts, _) = ended(&job, &newer, &of_plane(), &done(&message, &[]));
    let said = short(&posts);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].2.starts_with("aa orch/review error (was about a commit that is not the newest"));
}

#[test]
fn a_commit_that_was_pushed_has_the_stages_status_and_its_pull_request_the_comment() {
    let job = job("development", None);
    let facts = |step| StepFacts {
        step,
        state: StepState::Done,
        evidence: String::new(),
        branch: None,
        head: None,
        pull_request: None,
        began_at: NOW,
        ended_at: NOW,
    };
    let pull_request = steps::PullRequest { repo: "acme/shop".into(), number: 40, url: String::new() };
    let steps = [
        StepFacts { head: Some(sha('c')), ..facts(StepKind::Push) },
        StepFacts { pull_request: Some(pull_request), ..facts(StepKind::PullRequest) },
    ];
    let (posts, _) = ended(&job, &item(&job), &of_plane(), &done("mended the total", &steps));
    let said = short(&posts);
    assert!(said[0].2.contains("<p>mended the total</p>"), "{said:?}");
    assert_eq!(said[2].1, "status/JOB/3/made");
    assert!(said[2].2.starts_with("cc orch/development success"), "{said:?}");
    let number = PullRef::Number(40);
    assert!(
        matches!(&posts[1].letter.says, Says::PullComment { pull_request, .. } if *pull_request == number)
    );
}

#[test]
fn a_start_is_a_pending_status_and_the_stages_state_once_for_each_job() {
    let (pipeline, payload) = (pipeline(), of_plane());
    let project = pipeline.project("shop").unwrap();
    let posts = of_start(project, &job("development", Some(sha('a'))), &payload, &TERMS);
    let again = of_start(
        project,
        &Job { epoch: Epoch(2), revision: 9, ..job("development", Some(sha('a'))) },
        &payload,
        &TERMS,
    );
    assert_eq!(posts, again);
    assert_eq!(
        short(&posts),
        [
            own(("plane", "stage/JOB", "Group(\"started\")")),
            own((
                "gitea",
                "status/JOB/pending",
                "aa orch/development pending (is under way) https://orch.example/jobs/7"
            )),
        ]
    );
    let origin = Origin { kind: JobKind::Reformat, ..job("review", Some(sha('a'))).origin };
    assert_eq!(of_start(project, &Job { origin, ..job("review", None) }, &payload, &TERMS), []);
    // Ids begin anew with a new database: its job 7 is another fact.
    let other = Job { created_at: Timestamp::from_ms(1), ..job("development", Some(sha('a'))) };
    assert_ne!(of_start(project, &other, &payload, &TERMS)[0].key, posts[0].key);
}

#[test]
fn a_persons_word_is_told_with_who_said_it() {
    let (pipeline, job, payload) = (pipeline(), job("deploy", Some(sha('a'))), of_plane());
    let message = "shipped";
    let (posts, change) = ended(&job, &item(&job), &payload, &done(message, &[]));
    assert!(short(&posts)[0].2.contains("needs you: deploy passed and waits for a person"), "{posts:?}");
    let waiting = change.after;
    let scene = Scene { item: &waiting, job: &job, payload: &payload, pipeline: &pipeline, now: NOW };
    for (word, verb, state) in
        [(Word::Approve, "approved", "completed"), (Word::Reject, "rejected", "cancelled")]
    {
        let change = decide(&scene, word, Some("@all <b>")).unwrap();
        let said = (word, "ada", Some("@all <b>"));
        let project = pipeline.project("shop").unwrap();
        let posts = of_decision(project, &waiting, Some((&job, &payload)), said, &change, &TERMS);
        let said = short(&posts);
        assert!(said[0].2.contains(&format!("<strong>deploy</strong> was {verb} by ada")), "{said:?}");
        assert!(
            said[0].2.contains("@all &lt;b&gt;") && said[1].2.contains("```text\n@all <b>\n```"),
            "{said:?}"
        );
        assert_eq!(said[2].2, format!("Group(\"{state}\")"));
        let is_safe = |letter: char| letter.is_ascii_alphanumeric() || "/.".contains(letter);
        assert!(posts.iter().all(|post| post.key.chars().all(is_safe)), "{posts:?}");
    }
}

#[test]
fn only_what_is_there_is_told() {
    let (pipeline, message) = (pipeline(), says("pass", "fine"));
    let end = done(&message, &[]);
    let told = |project: &str, key: &str, terms: &Terms<'_>| -> Vec<&'static str> {
        let job =
            Job { project: project.to_owned(), work_item: key.to_owned(), ..job("review", Some(sha('a'))) };
        let (item, payload) = (item(&job), Payload::default());
        let scene = Scene { item: &item, job: &job, payload: &payload, pipeline: &pipeline, now: NOW };
        let change = step(&scene, end.clone());
        let posts = of_end(&scene, &end, &change, terms);
        posts.iter().map(|post| post.sink.as_str()).collect()
    };
    assert_eq!(told("shop", "SHOP-12", &TERMS), ["plane", "gitea", "gitea"]);
    assert_eq!(told("shop", "SHOP-12", &Terms { gitea: false, ..TERMS }), ["plane"]);
    assert_eq!(told("shop", "SHOP-12", &Terms { plane: false, ..TERMS }), ["gitea", "gitea"]);
    assert_eq!(told("shop", "SHOP-12", &Terms::default()), [""; 0]);
    // A pull request of somebody's is no issue, a branch has no pull request, and a project may want to hear nothing.
    assert_eq!(told("shop", "acme/shop#9", &TERMS), ["gitea", "gitea"]);
    assert_eq!(told("shop", "acme/shop@main", &TERMS), ["gitea"]);
    assert_eq!(told("forge", "FORGE-1", &TERMS), ["gitea", "gitea"]);
    assert_eq!(told("quiet", "acme/quiet#9", &TERMS), [""; 0]);
}

#[test]
fn words_of_others_are_data_bounded_and_without_secrets() {
    let said =
        "```\n@everyone closes #12 <!-- orch:end/8.1/2 --> <script>alert('x')</script> hunter2\u{202e}";
    let findings = (0..30).map(|n| format!("finding {n} hunter2 <img src=x>")).collect();
    let words = Words {
        subject: "review".to_owned(),
        sentence: "failed: @jane #3 hunter2 <b> [x](http://x)".to_owned(),
        said: said.to_owned(),
        findings,
        link: None,
    }
    .fit(&["hunter2", ""]);
    let (markdown, html) = (words.markdown(), words.html());
    for text in [&markdown, &html] {
        assert!(!text.contains("hunter2") && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("… and 10 more"), "{text}");
    }
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<!--"), "{html}");
    let (first, fenced) = markdown.split_once("\n\n````text\n").unwrap();
    assert_eq!(first, "**review** failed: jane 3 secret b x (http://x)");
    assert!(fenced.ends_with("\n````") && fenced.matches("````").count() == 1, "{fenced}");
    assert!(!markdown.starts_with("<!--"));

    let long = Words { said: "x".repeat(100_000), ..Words::default() }.fit(&[]);
    assert!(long.html().len() < 4_000 && long.markdown().len() < 4_000);
}

#[test]
fn own_statuses_are_known_by_their_prefix() {
    assert!(is_own_status("orch/review") && !is_own_status("ci/orch/review") && !is_own_status("orchestra"));
}
