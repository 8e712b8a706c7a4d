//! What the tracker and the forge are told, against stand-ins of both that lose answers, refuse and limit; the clock in the
//! test's hand.

use std::time::Duration;

use domain::delivery::{About, NewJob, Payload};
use domain::job::Origin;
use domain::outbox::{Sink, SinkRecord};
use domain::outcome::ResultEvent;
use domain::{Budgets, JobId, Timestamp};
use e2e::forges::plane::Project;
use e2e::forges::{Fault, Gitea, Plane, gitea, plane};
use http::Method;
use scheduler::{Options, Reporting, Sinks};
use service::settings::{ForgeSettings, Secret, SecretSetting};
use uuid::Uuid;

use crate::fake::Node;
use crate::stack::{Stack, eventually};

const WORKSPACE: Uuid = Uuid::from_u128(1);
const PROJECT: Uuid = Uuid::from_u128(2);
const CONSOLE: &str = "https://orch.example";

const ORCH_TOML: &str = r#"
[[project]]
name = "shop"
serial = "none"
gitea_repo = "acme/shop"
plane_workspace = "acme"
plane_workspace_id = "00000000-0000-0000-0000-000000000001"
plane_project_id = "00000000-0000-0000-0000-000000000002"
plane_identifier = "SHOP"
[project.report]
on_stage = { review = "started" }
on_done = "completed"
[[stage]]
name = "review"
role = "reviewer"
prompt = "work.md"
gate = ["verdict"]
"#;

struct Shop {
    stack: Stack,
    node: Node,
    plane: Plane,
    gitea: Gitea,
    /// How many runs were driven to their end.
    ended: usize,
}

fn reporting(plane: Option<(&Plane, &str)>, gitea: Option<&Gitea>) -> Reporting {
    let settings = ForgeSettings {
        plane_api_url: plane.map(|(plane, _)| plane.url()),
        plane_api_key: SecretSetting::of(plane.map(|(_, key)| Secret::new(key))),
        gitea_api_url: gitea.map(Gitea::url),
        gitea_token: SecretSetting::of(gitea.map(|gitea| Secret::new(gitea.orch().token))),
    };
    Reporting::new(settings.forges().unwrap(), Some(CONSOLE), &Sinks::default()).unwrap()
}

impl Shop {
    /// Both stand-ins, with issues SHOP-1 to SHOP-3 and a pull request for each.
    async fn open() -> Self {
        Self::open_with(|plane, gitea| reporting(Some((plane, &plane.orch().key)), Some(gitea))).await
    }

    async fn open_with(told: impl FnOnce(&Plane, &Gitea) -> Reporting) -> Self {
        let project = Project {
            slug: "acme".to_owned(),
            workspace: WORKSPACE,
            id: PROJECT,
            identifier: "SHOP".to_owned(),
        };
        let (plane, gitea) = (Plane::start(project).await.unwrap(), Gitea::start("acme/shop").await.unwrap());
        plane.set_rate_limit(None);
        for number in 1..=3 {
            plane.create_issue(&plane.jane(), "Total is wrong", "");
            let branch = format!("orch/SHOP-{number}");
            gitea.push(&gitea.jane(), &branch, &sha(number));
            gitea.open_pull_request(&gitea.jane(), &branch, "main", "Mend it", "");
        }
        let reporting = told(&plane, &gitea);
        let stack = Stack::start_with(|options| {
            std::fs::write(&options.config, ORCH_TOML).unwrap();
            Options { reporting, ..options }
        })
        .await;
        let node = Node::start(&stack, "n").await;
        Self { stack, node, plane, gitea, ended: 0 }
    }

    /// A review of the item's commit.
    async fn enqueue(&self, number: u64) -> JobId {
        let now = Timestamp::from_ms(self.stack.clock.now_ms());
        let job = NewJob {
            project: "shop".to_owned(),
            work_item: format!("SHOP-{number}"),
            stage: "review".to_owned(),
            role: "reviewer".to_owned(),
            priority: 0,
            available_at: now,
            semantic_key: None,
            payload: Payload::default(),
            trace_context: None,
            origin: Origin { head: Some(sha(number)), ..Origin::default() },
            about: About::default(),
            budgets: Budgets::default(),
        };
        self.stack.store.enqueue(job, now).await.unwrap().job
    }

    /// Runs a review of the item to a pass.
    async fn review(&mut self, number: u64) -> JobId {
        let job = self.enqueue(number).await;
        self.ended += 1;
        let run = self.node.started(&self.stack, self.ended).await;
        let mut outcome = self.stack.success();
        let text = "```json\n{\"verdict\": \"pass\", \"summary\": \"all good\", \"findings\": [], \"head\": null}\n```";
        let result = outcome.report.result.take().unwrap();
        outcome.report.result = Some(ResultEvent { text: text.to_owned(), ..result });
        self.node.ends(&run, outcome);
        self.node.acked(&run).await;
        self.stack.reaches(job, "done").await;
        job
    }

    /// Waits until neither has anything left to be told; time passes meanwhile.
    async fn all_told(&self) {
        eventually("forges that were told everything", async || {
            self.stack.clock.advance(Duration::from_millis(500));
            let waits = self.stack.store.sinks().await.unwrap();
            let of_forge = |record: &&SinkRecord| matches!(record.sink, Sink::Plane | Sink::Gitea);
            waits.iter().filter(of_forge).all(|record| record.pending == 0).then_some(())
        })
        .await;
    }

    async fn waits(&self, sink: Sink) -> SinkRecord {
        let waits = self.stack.store.sinks().await.unwrap();
        waits.into_iter().find(|record| record.sink == sink).unwrap_or(SinkRecord::empty(sink))
    }

    /// What Plane was told, in short, the oldest first.
    fn on_plane(&self) -> Vec<String> {
        let short = |write: plane::Write| match write {
            plane::Write::Commented { issue, html, .. } => format!("{issue}: {html}"),
            plane::Write::Moved { issue, to, .. } => format!("{issue} -> {to}"),
            plane::Write::Labelled { issue, .. } => format!("{issue} labelled"),
        };
        self.plane.writes().into_iter().map(|entry| short(entry.what)).collect()
    }

    /// What Gitea was told, in short, the oldest first.
    fn on_gitea(&self) -> Vec<String> {
        let short = |write: gitea::Write| match write {
            gitea::Write::Commented { number, .. } => format!("#{number} comment"),
            gitea::Write::Edited { number, .. } => format!("#{number} edit"),
            gitea::Write::Status { sha, context, state, .. } => {
                format!("{} {context} {state}", sha.trim_start_matches('0'))
            }
            other @ (gitea::Write::Opened { .. } | gitea::Write::Pushed { .. }) => format!("{other:?}"),
        };
        self.gitea.writes().into_iter().map(|entry| short(entry.what)).collect()
    }

    /// The alerts that wait for a sink, by kind.
    async fn alerts(&self) -> Vec<String> {
        let now = Timestamp::from_ms(self.stack.clock.now_ms());
        let take = domain::outbox::Take { sink: Sink::Unrouted, now, leased_until: now, limit: 100 };
        let taken = self.stack.store.take_messages(take).await.unwrap();
        taken.iter().map(|message| message.key.split('/').next().unwrap_or_default().to_owned()).collect()
    }
}

fn sha(number: u64) -> String {
    format!("{number:040x}")
}

fn told_of(number: u64, job: JobId) -> [String; 3] {
    [
        format!("SHOP-{number} -> In Progress"),
        format!(
            "SHOP-{number}: <p><strong>review</strong> passed: nothing more to do. \
             (<a href=\"{CONSOLE}/jobs/{job}\">job {job}</a>)</p><blockquote><p>all good</p></blockquote>"
        ),
        format!("SHOP-{number} -> Done"),
    ]
}

#[tokio::test]
async fn a_stage_is_told_on_both_sides_once_and_in_order() {
    let mut shop = Shop::open().await;
    let job = shop.review(1).await;
    shop.all_told().await;
    assert_eq!(shop.on_plane(), told_of(1, job));
    assert_eq!(shop.on_gitea(), ["1 orch/review pending", "#1 comment", "1 orch/review success"]);
    let comment = &shop.gitea.comments(1)[0];
    assert!(comment.body.starts_with("<!-- orch:end/1."), "{}", comment.body);
    let passed = format!(
        "-->\n**review** passed: nothing more to do. ([job 1](<{CONSOLE}/jobs/1>))\n\n```text\nall good\n```"
    );
    assert!(comment.body.ends_with(&passed), "{}", comment.body);
    let status = shop.gitea.statuses(&sha(1)).pop().unwrap();
    assert_eq!(
        (status.description.as_str(), status.target_url.as_str()),
        ("passed: nothing more to do", "https://orch.example/jobs/1")
    );
    assert!(shop.plane.writes().iter().all(|write| write.by == "orch"));

    // Told is told: a scheduler that starts anew repeats nothing.
    shop.stack.restart().await;
    shop.all_told().await;
    assert_eq!((shop.on_plane().len(), shop.on_gitea().len()), (3, 3));
}

#[tokio::test]
async fn every_fault_ends_in_one_comment_and_one_status() {
    let faults = [
        Fault::Status(500),
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::StatusAfter(502),
        Fault::Limited(60),
    ];
    for fault in faults {
        let mut shop = Shop::open().await;
        shop.plane.faults().next(Method::POST, "/comments/", fault, 1);
        shop.plane.faults().next(Method::PATCH, "/work-items/", fault, 1);
        shop.plane.faults().next(Method::GET, "/states/", Fault::Status(500), 1);
        shop.gitea.faults().next(Method::POST, "/comments", fault, 1);
        shop.gitea.faults().next(Method::POST, "/statuses/", fault, 2);
        shop.gitea.faults().next(Method::GET, "/pulls", Fault::DropBefore, 1);
        let job = shop.review(1).await;
        shop.all_told().await;
        assert_eq!(shop.on_plane(), told_of(1, job), "{fault:?}");
        let expected = ["1 orch/review pending", "#1 comment", "1 orch/review success"];
        assert_eq!(shop.on_gitea(), expected, "{fault:?}");
        let asked = shop.plane.requests().len() + shop.gitea.requests().len();
        assert!(asked < 40, "{asked} requests after {fault:?}");
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_told_holds_back_no_other_and_not_its_own_next_words() {
    let mut shop = Shop::open().await;
    shop.plane.delete_issue("SHOP-1");
    shop.gitea.lock(1);
    // A commit that the forge knows nothing of is refused for good, too.
    shop.gitea.faults().next(Method::POST, &sha(2), Fault::Status(422), 1);
    shop.review(1).await;
    let job = shop.review(2).await;
    shop.all_told().await;
    assert_eq!(shop.on_plane(), told_of(2, job));
    let expected = ["1 orch/review pending", "1 orch/review success", "#2 comment", "2 orch/review success"];
    let mut told = shop.on_gitea();
    told.sort_by_key(|write| write.contains('2'));
    assert_eq!(told, expected);
    let (plane, gitea) = (shop.waits(Sink::Plane).await, shop.waits(Sink::Gitea).await);
    assert_eq!((plane.set_aside, gitea.set_aside), (3, 2));
    let error = plane.set_aside_error.unwrap();
    assert!(error.starts_with("issue by its key: 404 Not Found"), "{error}");
    assert_eq!(shop.alerts().await, vec!["report_refused"; 5]);
}

#[tokio::test]
async fn what_is_told_of_one_item_stays_in_order_while_others_go_on() {
    let mut shop = Shop::open().await;
    let id = shop.plane.issue("SHOP-1").id;
    shop.plane.faults().next(Method::GET, &format!("/work-items/{id}"), Fault::Status(503), 3);
    let first = shop.review(1).await;
    let other = shop.review(2).await;
    let second = shop.review(1).await;
    // Nothing of the first item before its first words get through.
    let only_the_first_waits = async || (shop.waits(Sink::Plane).await.pending == 6).then_some(());
    eventually("the other item", only_the_first_waits).await;
    assert_eq!(shop.on_plane(), told_of(2, other));
    shop.all_told().await;
    let told: Vec<String> = shop.on_plane().into_iter().filter(|write| write.starts_with("SHOP-1")).collect();
    assert_eq!(told, [told_of(1, first), told_of(1, second)].concat());
}

#[tokio::test]
async fn a_limit_is_waited_out_by_everything_that_is_for_that_forge() {
    let mut shop = Shop::open().await;
    shop.plane.faults().next(Method::GET, "", Fault::Limited(90), 1);
    shop.review(1).await;
    shop.review(2).await;
    let limited = async || (!shop.waits(Sink::Plane).await.last_error?.is_empty()).then_some(());
    eventually("the limit", limited).await;
    // Gitea goes on; Plane is asked nothing, whatever item it is about.
    eventually("Gitea", async || (shop.on_gitea().len() == 6).then_some(())).await;
    shop.stack.clock.advance(Duration::from_secs(80));
    for _ in 0..10 {
        // The loop looks meanwhile: a condition that must not come cannot be waited for.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shop.plane.requests().len(), 0);
    shop.all_told().await;
    assert_eq!(shop.on_plane().len(), 6);
    assert_eq!(shop.waits(Sink::Plane).await.set_aside, 0);
}

#[tokio::test]
async fn a_wrong_key_is_told_once_loses_nothing_and_is_mended_by_a_right_one() {
    let mut shop = Shop::open_with(|plane, gitea| reporting(Some((plane, "wrong")), Some(gitea))).await;
    let job = shop.review(1).await;
    let failing = async || shop.waits(Sink::Plane).await.last_error;
    let error = eventually("the refusal", failing).await;
    assert!(error.contains("403 Forbidden") && error.contains("token is not valid"), "{error}");
    eventually("Gitea", async || (shop.on_gitea().len() == 3).then_some(())).await;
    assert_eq!((shop.plane.requests().len(), shop.waits(Sink::Plane).await.pending), (1, 3));
    assert_eq!(shop.alerts().await, ["reports_stuck"]);
    let right = reporting(Some((&shop.plane, &shop.plane.orch().key)), Some(&shop.gitea));
    shop.stack.restart_with(|options| Options { reporting: right, ..options }).await;
    shop.all_told().await;
    assert_eq!(shop.on_plane(), told_of(1, job));
    eventually("the good news", async || {
        shop.alerts().await.contains(&"reports_back".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_silences_a_report_by_planting_its_marker() {
    let mut shop = Shop::open().await;
    let job = shop.stack.job(shop.enqueue(1).await).await;
    shop.ended += 1;
    let run = shop.node.started(&shop.stack, 1).await;
    let revision = shop.stack.job(job.id).await.revision;
    let key = format!("end/{}.{}/{revision}", job.id, job.created_at.as_ms());
    shop.gitea.comment(&shop.gitea.jane(), 1, &domain::report::marker(&key));
    shop.gitea.comment(&shop.gitea.orch(), 1, &format!("> {}quoted", domain::report::marker(&key)));
    let outcome = shop.stack.max_turns();
    shop.node.ends(&run, outcome);
    shop.node.acked(&run).await;
    shop.all_told().await;
    let ours: Vec<_> = shop.gitea.comments(1).into_iter().skip(2).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert!(ours[0].body.starts_with(&domain::report::marker(&key)), "{}", ours[0].body);
    assert!(ours[0].body.contains("**review** needs you: job 1 of review was given up"), "{}", ours[0].body);
    assert!(shop.on_gitea().ends_with(&["1 orch/review error".to_owned()]), "{:?}", shop.on_gitea());
}

#[tokio::test]
async fn a_project_with_one_forge_or_none_reports_where_it_can() {
    let mut shop = Shop::open_with(|_, gitea| reporting(None, Some(gitea))).await;
    shop.review(1).await;
    shop.all_told().await;
    assert_eq!((shop.on_plane().len(), shop.on_gitea().len()), (0, 3));
    let mut shop = Shop::open_with(|plane, _| reporting(Some((plane, &plane.orch().key)), None)).await;
    shop.review(1).await;
    shop.all_told().await;
    assert_eq!((shop.on_plane().len(), shop.on_gitea().len()), (3, 0));
    let mut shop = Shop::open_with(|_, _| Reporting::default()).await;
    shop.review(1).await;
    assert_eq!(shop.stack.store.sinks().await.unwrap(), []);
}
