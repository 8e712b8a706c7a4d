//! The push and the pull request on a real runner, with a real repository and a forge of the tests' own: once, whoever is
//! killed when, and never over somebody else's work.
#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "tests")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use common::{
    FakeScheduler, InProcess, Place, Process, Script, ack, eventually, key, launch, read, spec, watch,
};
use domain::outcome::Outcome;
use domain::steps::{StepFault, StepKind, StepState};
use domain::transition::Conclusion;
use domain::{Class, classify};
use proto::v1::runner_service_client::RunnerServiceClient;
use proto::v1::{Hooks, PullRequestAsk, Repository, RunSpec, RunSteps};
use serde_json::{Value, json};
use service::Tasks;
use service::settings::Secret;
use tokio::io::AsyncWriteExt as _;
use tonic::transport::Channel;

const TOKEN: &str = "planted-4f1c2a";

/// A forge that knows pull requests, and what goes wrong with it.
#[derive(Debug, Default)]
struct Forge {
    pulls: Vec<Value>,
    opened: usize,
    /// Answers to the next requests to open one, in place of the truth; the pull request is there all the same.
    lies: Vec<u16>,
    refuses: Option<u16>,
    asked: usize,
    slow: bool,
}

type Shared = Arc<Mutex<Forge>>;

fn allowed(forge: &Shared, headers: &HeaderMap) -> Result<(), StatusCode> {
    assert_eq!(headers["authorization"], format!("token {TOKEN}"));
    let mut forge = forge.lock().unwrap();
    forge.asked += 1;
    forge.refuses.map_or(Ok(()), |status| Err(StatusCode::from_u16(status).unwrap()))
}

async fn find(
    State(forge): State<Shared>,
    Path((base, head)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    allowed(&forge, &headers)?;
    let forge = forge.lock().unwrap();
    let found = forge.pulls.iter().find(|pull| pull["head"]["ref"] == *head && pull["base"]["ref"] == *base);
    found.cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn open(
    State(forge): State<Shared>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    allowed(&forge, &headers)?;
    let slow = forge.lock().unwrap().slow;
    let answer = opened(&mut forge.lock().unwrap(), &asked);
    if slow {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    answer
}

fn opened(forge: &mut Forge, asked: &Value) -> Result<(StatusCode, Json<Value>), StatusCode> {
    if forge.pulls.iter().any(|pull| pull["head"]["ref"] == asked["head"]) {
        return Err(StatusCode::CONFLICT);
    }
    forge.opened += 1;
    let number = 11 + forge.opened;
    let repo = json!({"full_name": "acme/shop"});
    let pull = json!({"number": number, "state": "open", "html_url": format!("http://forge/acme/shop/pulls/{number}"),
        "title": asked["title"], "body": asked["body"], "base": {"ref": asked["base"], "repo": repo},
        "head": {"ref": asked["head"], "repo": repo}});
    forge.pulls.push(pull.clone());
    match forge.lies.pop() {
        Some(status) => Err(StatusCode::from_u16(status).unwrap()),
        None => Ok((StatusCode::CREATED, Json(pull))),
    }
}

/// Where a repository is served, and the credential that it asks for, as `Authorization` has it.
#[derive(Clone, Debug)]
struct Served {
    remote: PathBuf,
    authorization: String,
}

/// The repository over HTTP, for whoever has the credential.
async fn serve_git(
    State(served): State<Served>,
    Path(inside): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("authorization") != served.authorization {
        let realm = [("www-authenticate", "Basic realm=\"forge\"")];
        return (StatusCode::UNAUTHORIZED, realm).into_response();
    }
    let mut backend = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", served.remote)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{inside}"))
        .env("REQUEST_METHOD", method.as_str())
        .env("QUERY_STRING", query.unwrap_or_default())
        .env("REMOTE_USER", "orch")
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    backend.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = backend.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for (name, value) in
        std::str::from_utf8(&output[..end]).unwrap().lines().map(|line| line.split_once(": ").unwrap())
    {
        response = response.header(name, value);
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}

/// A place with a repository that has one commit, and a forge for it.
struct Scene {
    place: Place,
    scheduler: FakeScheduler,
    forge: Shared,
    url: String,
    _tasks: Tasks,
}

/// An agent that commits what it is told to, by a shell.
const COMMITS: &str = r#"eval "$(cat)" >&2
echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"#;

const COMMIT: &str = "echo $RANDOM$$ >>work; git add -A; git commit -qm work";

impl Scene {
    async fn new() -> Self {
        let place = Place::new(COMMITS);
        let scheduler = FakeScheduler::start(Script::default()).await;
        let forge = Shared::default();
        let served = Served {
            remote: place.file("shop.git"),
            // `orch:planted-0a1b2c3d4e5f`
            authorization: "Basic b3JjaDpwbGFudGVkLTBhMWIyYzNkNGU1Zg==".to_owned(),
        };
        let git = Router::new().route("/git/shop.git/{*inside}", any(serve_git)).with_state(served);
        let app = Router::new()
            .route("/api/v1/repos/acme/shop/pulls/{base}/{head}", get(find))
            .route("/api/v1/repos/acme/shop/pulls", post(open))
            .with_state(forge.clone())
            .merge(git);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let tasks = Tasks::new();
        tasks.spawn("forge", async move { axum::serve(listener, app).await.unwrap() });
        let scene = Self { place, scheduler, forge, url, _tasks: tasks };
        scene.git(&["init", "-q", "--bare", "-b", "main", scene.remote().to_str().unwrap()]);
        scene.hook("post-receive", &format!("cat >>{}", scene.place.file("pushes").display()));
        let seed = scene.place.file("seed");
        scene.git(&["clone", "-q", scene.remote().to_str().unwrap(), seed.to_str().unwrap()]);
        scene.commit_to("main", "first");
        scene
    }

    fn remote(&self) -> PathBuf {
        self.place.file("shop.git")
    }

    fn hook(&self, name: &str, script: &str) {
        let path = self.remote().join("hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=jane", "-c", "user.email=jane@x"])
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .current_dir(self.place.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Somebody else commits to a branch and pushes it.
    fn commit_to(&self, branch: &str, message: &str) {
        let seed = self.place.file("seed");
        let seed = seed.to_str().unwrap();
        self.git(&["-C", seed, "checkout", "-q", "-B", branch]);
        self.git(&["-C", seed, "commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["-C", seed, "push", "-q", "-f", "origin", branch]);
    }

    /// What the forge's branch is.
    fn head(&self, branch: &str) -> String {
        self.git(&["--git-dir", self.remote().to_str().unwrap(), "rev-parse", branch])
    }

    /// The pushes to a branch that the forge saw.
    fn pushes(&self, branch: &str) -> usize {
        let name = format!(" refs/heads/{branch}");
        read(&self.place.file("pushes")).lines().filter(|line| line.ends_with(&name)).count()
    }

    fn spec(&self, job_id: i64, work: &str) -> RunSpec {
        let ask = PullRequestAsk {
            repo: "acme/shop".to_owned(),
            title: "SHOP-12: mend the till".to_owned(),
            body: "development of SHOP-12".to_owned(),
            marker: "<!-- orch:pull_request:1 -->".to_owned(),
        };
        RunSpec {
            job_id,
            prompt: format!("{work}\n"),
            repository: Some(Repository {
                clone_url: self.remote().to_str().unwrap().to_owned(),
                base: Some("main".to_owned()),
                branch: "orch/SHOP-12".to_owned(),
                head_rule: proto::v1::HeadRule::Contains.into(),
                hooks: Some(Hooks { timeout_ms: 1000, ..Hooks::default() }),
                ..Repository::default()
            }),
            steps: Some(RunSteps { push: true, pull_request: Some(ask), ..RunSteps::default() }),
            ..spec("")
        }
    }

    async fn runner(&self) -> InProcess {
        self.runner_of_patience(Duration::ZERO).await
    }

    async fn runner_of_patience(&self, step_patience: Duration) -> InProcess {
        let mut options = self.place.options(&self.scheduler);
        options.git_token = Some(Secret::new(TOKEN));
        options.gitea_api_url = Some(self.url.clone());
        options.step_patience = step_patience;
        InProcess::start(options, &self.scheduler).await
    }

    async fn run(&self, runner: &mut InProcess, spec: RunSpec) -> Outcome {
        self.run_in(&mut runner.client, runner.incarnation, spec).await
    }

    async fn run_in(
        &self,
        client: &mut RunnerServiceClient<Channel>,
        incarnation: i64,
        spec: RunSpec,
    ) -> Outcome {
        let run = key(1);
        launch(client, incarnation, &run, spec).await;
        let outcome = watch(client, &run, 0).await.outcome;
        ack(client, &run, &self.place).await;
        outcome
    }
}

fn states(outcome: &Outcome) -> Vec<(StepKind, StepState)> {
    outcome.steps.iter().map(|facts| (facts.step, facts.state)).collect()
}

const ALL_DONE: [(StepKind, StepState); 2] =
    [(StepKind::Push, StepState::Done), (StepKind::PullRequest, StepState::Done)];

fn conclusion(outcome: &Outcome) -> Conclusion {
    classify::conclude(outcome, false, &classify::Patterns::default(), outcome.ended_at).0
}

#[tokio::test]
async fn a_commit_is_pushed_and_shown_as_one_pull_request() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let first = scene.run(&mut runner, scene.spec(1, COMMIT)).await;
    assert_eq!(states(&first), ALL_DONE, "{:?}", first.steps);
    let head = scene.head("orch/SHOP-12");
    assert_ne!(head, scene.head("main"));
    let [push, pull] = first.steps.as_slice() else { panic!("{:?}", first.steps) };
    assert_eq!((push.head.as_deref(), push.branch.as_deref()), (Some(head.as_str()), Some("orch/SHOP-12")));
    let opened = pull.pull_request.as_ref().unwrap();
    assert_eq!(
        (opened.key().as_str(), opened.url.as_str()),
        ("acme/shop#12", "http://forge/acme/shop/pulls/12")
    );
    let shown = scene.forge.lock().unwrap().pulls[0].clone();
    assert_eq!((&shown["title"], &shown["base"]["ref"]), (&json!("SHOP-12: mend the till"), &json!("main")));
    assert_eq!(shown["body"], "development of SHOP-12\n\n<!-- orch:pull_request:1 -->");
    assert_eq!(conclusion(&first), Conclusion::Judged { class: Class::Success });

    // Nothing new: nothing is pushed, and the pull request is found. Something new: pushed, and the same pull request.
    let again = scene.run(&mut runner, scene.spec(2, "true")).await;
    assert_eq!((states(&again), scene.pushes("orch/SHOP-12")), (ALL_DONE.to_vec(), 1));
    assert_eq!(again.steps[0].head.as_deref(), Some(head.as_str()));
    let rewritten =
        scene.run(&mut runner, scene.spec(3, "git commit -q --amend --allow-empty -m again")).await;
    assert_eq!((states(&rewritten), scene.pushes("orch/SHOP-12")), (ALL_DONE.to_vec(), 2));
    assert_eq!(rewritten.steps[0].head, Some(scene.head("orch/SHOP-12")));
    assert_eq!(scene.forge.lock().unwrap().opened, 1);
    runner.stop().await;
}

#[tokio::test]
async fn what_somebody_else_pushed_is_never_written_over() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let go = scene.place.file("go");
    let waits = format!(
        "{COMMIT}; touch {}; while [ ! -e {} ]; do sleep 0.02; done",
        scene.place.file("committed").display(),
        go.display()
    );
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, &waits)).await;
    eventually("the commit", async || scene.place.file("committed").exists().then_some(())).await;
    scene.commit_to("orch/SHOP-12", "a person's");
    let theirs = scene.head("orch/SHOP-12");
    std::fs::write(go, "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(outcome.steps[0].state, StepState::Failed { fault: StepFault::RemoteMoved });
    // The agent's work is as good as it was: it goes back, with what to do.
    assert_eq!(conclusion(&outcome), Conclusion::Judged { class: Class::Success });
    let findings = domain::steps::findings(&outcome.steps).unwrap().findings;
    assert!(findings[0].contains("merge what is there") && findings[1].contains(&theirs), "{findings:?}");
    assert_eq!(scene.head("orch/SHOP-12"), theirs);
    ack(&mut runner.client, &run, &scene.place).await;
    // What contains theirs takes its place.
    let merged = "git merge -q --no-edit origin/orch/SHOP-12 2>/dev/null || git merge -q --no-edit refs/remotes/origin/orch/SHOP-12";
    let outcome = scene.run(&mut runner, scene.spec(2, merged)).await;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_ne!(scene.head("orch/SHOP-12"), theirs);
    runner.stop().await;
}

/// What an agent does before it waits to be let go on.
fn then_waits(scene: &Scene, work: &str) -> String {
    let (committed, go) = (scene.place.file("committed"), scene.place.file("go"));
    format!("{work}; touch {}; while [ ! -e {} ]; do sleep 0.02; done", committed.display(), go.display())
}

/// What an earlier run pushed is no work of somebody else's, also where it turns up late.
#[tokio::test]
async fn what_an_earlier_run_pushed_gives_way() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    scene.run(&mut runner, scene.spec(1, COMMIT)).await;
    let first = scene.head("orch/SHOP-12");
    let amend = "git commit -q --amend --allow-empty -m again";
    scene.run(&mut runner, scene.spec(2, amend)).await;
    let run = key(1);
    let spec = scene.spec(3, &then_waits(&scene, "git commit -q --amend --allow-empty -m anew"));
    launch(&mut runner.client, runner.incarnation, &run, spec).await;
    eventually("the commit", async || scene.place.file("committed").exists().then_some(())).await;
    scene.git(&[
        "--git-dir",
        scene.remote().to_str().unwrap(),
        "update-ref",
        "refs/heads/orch/SHOP-12",
        &first,
    ]);
    std::fs::write(scene.place.file("go"), "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")));
    assert_ne!(scene.head("orch/SHOP-12"), first);
    runner.stop().await;
}

/// Somebody took the commit from elsewhere and went on: there is nothing left to push, and nothing is taken back.
#[tokio::test]
async fn what_was_built_on_ours_stays() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, &then_waits(&scene, COMMIT))).await;
    eventually("the commit", async || scene.place.file("committed").exists().then_some(())).await;
    let (seed, work) = (scene.place.file("seed"), scene.place.file("workspaces/shop/SHOP-12"));
    let seed = seed.to_str().unwrap();
    scene.git(&["-C", seed, "fetch", "-q", work.to_str().unwrap(), "HEAD"]);
    scene.git(&["-C", seed, "reset", "-q", "--hard", "FETCH_HEAD"]);
    let ours = scene.git(&["-C", seed, "rev-parse", "HEAD"]);
    scene.commit_to("orch/SHOP-12", "a person's, on top");
    let theirs = scene.head("orch/SHOP-12");
    std::fs::write(scene.place.file("go"), "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!((outcome.steps[0].head.as_deref(), scene.head("orch/SHOP-12")), (Some(ours.as_str()), theirs));
    runner.stop().await;
}

/// A forge that falters costs no second agent: the step alone is tried again, by whichever incarnation, until it is done.
#[tokio::test]
async fn a_forge_that_is_away_is_waited_for_without_the_agent() {
    let scene = Scene::new().await;
    scene.forge.lock().unwrap().refuses = Some(503);
    let more = [("ORCH_GIT_TOKEN", TOKEN.to_owned()), ("ORCH_GITEA_API_URL", scene.url.clone())];
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, COMMIT)).await;
    let fails = scene.place.file(&format!("state/node-0/runs/{}/step-pull_request.fails.json", run.run_id));
    eventually("the first failure", async || fails.exists().then_some(())).await;
    let since = read(&fails);
    runner.kill();
    let asked = scene.forge.lock().unwrap().asked;
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
    eventually("another try", async || (scene.forge.lock().unwrap().asked > asked).then_some(())).await;
    assert_eq!(read(&fails), since, "a restart gives no new patience");
    scene.forge.lock().unwrap().refuses = None;
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!((scene.pushes("orch/SHOP-12"), scene.forge.lock().unwrap().opened), (1, 1));
    assert_eq!(scene.place.spawns(), 1);
    ack(&mut runner.client, &run, &scene.place).await;

    // A person who does not want to wait ends it.
    scene.forge.lock().unwrap().refuses = Some(503);
    let run = key(2);
    launch(&mut runner.client, runner.incarnation, &run, RunSpec { job_id: 2, ..scene.spec(2, COMMIT) })
        .await;
    let fails = scene.place.file(&format!("state/node-0/runs/{}/step-pull_request.fails.json", run.run_id));
    eventually("the first failure", async || fails.exists().then_some(())).await;
    runner.client.cancel(proto::v1::CancelRequest { run: Some(run.clone()) }).await.unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(outcome.steps[1].state, StepState::NotDone { why: domain::steps::Undone::Cancelled });
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let nothing = scene.run(&mut runner, scene.spec(1, "true")).await;
    assert_eq!(nothing.steps[0].state, StepState::Failed { fault: StepFault::NoCommits });
    assert_eq!(conclusion(&nothing), Conclusion::Judged { class: Class::Success });
    scene.hook("pre-receive", "echo 'this branch is protected' >&2; exit 1");
    let protected = scene.run(&mut runner, scene.spec(2, COMMIT)).await;
    assert_eq!(protected.steps[0].state, StepState::Failed { fault: StepFault::ForgeRefused });
    assert!(protected.steps[0].evidence.contains("this branch is protected"), "{:?}", protected.steps);
    scene.hook("pre-receive", "true");
    let mut fault = async |job_id: i64, status: u16| {
        scene.forge.lock().unwrap().refuses = Some(status);
        let outcome = scene.run(&mut runner, scene.spec(job_id, "true")).await;
        assert_eq!(outcome.steps[0].state, StepState::Done);
        outcome.steps[1].state
    };
    assert_eq!(fault(3, 401).await, StepState::Failed { fault: StepFault::ForgeAuth });
    assert_eq!(fault(4, 502).await, StepState::Failed { fault: StepFault::ForgeUnreachable });
    assert_eq!(fault(5, 422).await, StepState::Failed { fault: StepFault::ForgeRefused });
    // An answer that was lost: the pull request is there, and is found.
    scene.forge.lock().unwrap().refuses = None;
    scene.forge.lock().unwrap().lies = vec![502];
    let outcome = scene.run(&mut runner, scene.spec(6, "true")).await;
    assert_eq!((states(&outcome), scene.forge.lock().unwrap().opened), (ALL_DONE.to_vec(), 1));
    assert_eq!(scene.pushes("orch/SHOP-12"), 1);
    runner.stop().await;
}

/// The runner is killed as soon as each entry of the journal is there: one push, one pull request, and the whole outcome.
#[tokio::test]
async fn a_runner_that_is_killed_at_any_entry_of_the_journal_does_nothing_twice() {
    let entries = [
        "outcome.json",
        "step-push.intent.json",
        "step-push.result.json",
        "step-pull_request.intent.json",
        "step-pull_request.result.json",
        "report.json",
    ];
    for entry in entries {
        let scene = Scene::new().await;
        scene.forge.lock().unwrap().slow = true;
        scene.hook("update", "sleep 0.2");
        let more = [("ORCH_GIT_TOKEN", TOKEN.to_owned()), ("ORCH_GITEA_API_URL", scene.url.clone())];
        let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, COMMIT)).await;
        let path = scene.place.file(&format!("state/node-0/runs/{}/{entry}", run.run_id));
        eventually(entry, async || path.exists().then_some(())).await;
        runner.kill();
        let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
        let outcome = watch(&mut runner.client, &run, 0).await.outcome;
        assert_eq!(states(&outcome), ALL_DONE, "{entry}: {:?}", outcome.steps);
        assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")), "{entry}");
        assert_eq!((scene.pushes("orch/SHOP-12"), scene.forge.lock().unwrap().opened), (1, 1), "{entry}");
        assert_eq!(scene.place.spawns(), 1, "{entry}");
        ack(&mut runner.client, &run, &scene.place).await;
    }
}

/// What an agent, and the gate after it, can find of a token by its form: in their environment and that of every process
/// above them, in their home, their worktree, its git folders, and all that the runner has on disk.
const SEARCH: &str = r#"P='planted-[0-9a-f]{12}'; FOUND=; PID=$$
env | grep -qE "$P" && FOUND="$FOUND env"
while [ "$PID" -gt 1 ]; do
  tr '\0' '\n' </proc/$PID/environ 2>/dev/null | grep -qE "$P" && FOUND="$FOUND environ:$PID"
  tr '\0' '\n' </proc/$PID/cmdline 2>/dev/null | grep -qE "$P" && FOUND="$FOUND cmdline:$PID"
  PID=$(sed -n 's/^PPid:\t//p' /proc/$PID/status)
done
git config --list --show-origin 2>/dev/null | grep -qE "$P" && FOUND="$FOUND config"
grep -rqE "$P" "$HOME" "$PWD" "$(git rev-parse --git-common-dir)" PLACE/state PLACE/workspaces && FOUND="$FOUND files"
echo "searched:$FOUND" >>PLACE/searched"#;

/// The runner has it from its environment, as a person gives it, and is a process of the agent's own user.
#[tokio::test]
async fn neither_the_agent_nor_its_gate_finds_the_credential() {
    let scene = Scene::new().await;
    let planted = [("ORCH_GIT_TOKEN", "planted-0a1b2c3d4e5f".to_owned())];
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &planted).await;
    let search = SEARCH.replace("PLACE", scene.place.dir.path().to_str().unwrap());
    let argv = ["/bin/bash", "-c", &search].map(str::to_owned).to_vec();
    let command = Some(proto::v1::GateCommand { argv, timeout_ms: 20_000 });
    let steps = RunSteps { command, push: true, ..RunSteps::default() };
    let spec = RunSpec { steps: Some(steps), ..scene.spec(1, &format!("{COMMIT}; {search}")) };
    let outcome = scene.run_in(&mut runner.client, runner.incarnation, spec).await;
    let done = [(StepKind::Command, StepState::Done), (StepKind::Push, StepState::Done)];
    assert_eq!(states(&outcome), done, "{:?}", outcome.steps);
    assert_eq!(read(&scene.place.file("searched")), "searched:\nsearched:\n");
    // The search finds what is there to be found.
    std::fs::write(scene.place.file("state/planted"), "planted-0a1b2c3d4e5f").unwrap();
    scene.run_in(&mut runner.client, runner.incarnation, scene.spec(2, &search)).await;
    assert!(read(&scene.place.file("searched")).ends_with("searched: files\n"));
}

/// What a process of the same user finds of the token by its form in every process of the host: each round is counted, each
/// find told with the program's name.
const POLL: &str = r#"P='planted-[0-9a-f]{12}'
while [ ! -e PLACE/stop ]; do
  for PID in /proc/[0-9]*; do
    for KIND in environ cmdline; do
      { tr '\0' '\n' <$PID/$KIND; } 2>/dev/null | grep -qE "$P" && echo "$KIND $(cat $PID/comm)" >>PLACE/polled
    done
  done
  echo round >>PLACE/rounds
done"#;

/// The push goes over HTTP with the credential, and is held up while an agent of another item looks through all of `/proc`.
#[tokio::test]
async fn no_process_shows_the_credential_while_git_pushes_with_it() {
    let scene = Scene::new().await;
    let file = |name: &str| scene.place.file(name);
    let rounds = || std::fs::read_to_string(file("rounds")).unwrap_or_default().lines().count();
    scene.hook(
        "pre-receive",
        &format!(
            "touch {0}/held; while [ ! -e {0}/go ]; do sleep 0.02; done",
            scene.place.dir.path().display()
        ),
    );
    let planted = [("ORCH_GIT_TOKEN", "planted-0a1b2c3d4e5f".to_owned())];
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &planted).await;
    let poll = POLL.replace("PLACE", scene.place.dir.path().to_str().unwrap());
    let poller = key(1);
    let spec =
        RunSpec { work_item: "SHOP-13".to_owned(), repository: None, steps: None, ..scene.spec(1, &poll) };
    launch(&mut runner.client, runner.incarnation, &poller, spec).await;
    eventually("a round", async || (rounds() > 0).then_some(())).await;

    let over_http = |job_id: i64, work: &str| {
        let mut spec = scene.spec(job_id, work);
        spec.repository.as_mut().unwrap().clone_url = format!("{}/git/shop.git", scene.url);
        RunSpec { steps: Some(RunSteps { push: true, ..RunSteps::default() }), ..spec }
    };
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, over_http(2, COMMIT)).await;
    eventually("the push", async || file("held").exists().then_some(())).await;
    let before = rounds();
    eventually("whole rounds while git pushes", async || (rounds() >= before + 3).then_some(())).await;
    std::fs::write(file("go"), "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), [(StepKind::Push, StepState::Done)], "{:?}", outcome.steps);
    assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")));
    assert!(!file("polled").exists(), "{}", read(&file("polled")));

    // The poll finds what is there to be found.
    let mut shown = Command::new("sleep").arg("600").env("SHOWN", "planted-0a1b2c3d4e5f").spawn().unwrap();
    let found = eventually("the planted token", async || {
        std::fs::read_to_string(file("polled")).ok().filter(|polled| polled.contains("environ sleep"))
    })
    .await;
    shown.kill().unwrap();
    shown.wait().unwrap();
    assert!(found.lines().all(|line| line == "environ sleep"), "{found}");
    std::fs::write(file("stop"), "").unwrap();
    watch(&mut runner.client, &poller, 0).await;
}
