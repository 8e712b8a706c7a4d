//! A place with a real repository and a forge for it, and a runner that works there.

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
use domain::classify;
use domain::outcome::Outcome;
use domain::steps::{StepKind, StepState};
use domain::transition::Conclusion;
use proto::v1::runner_service_client::RunnerServiceClient;
use proto::v1::{Hooks, PullRequestAsk, Repository, RunSpec, RunSteps};
use serde_json::{Value, json};
use service::Tasks;
use service::settings::Secret;
use tokio::io::AsyncWriteExt as _;
use tonic::transport::Channel;

use crate::common::{FakeScheduler, InProcess, Place, Script, ack, key, launch, read, spec, watch};

pub(crate) const TOKEN: &str = "planted-4f1c2a";

/// A forge that knows pull requests, and what goes wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Forge {
    pub(crate) pulls: Vec<Value>,
    pub(crate) opened: usize,
    /// Answers to the next requests to open one, in place of the truth; the pull request is there all the same.
    pub(crate) lies: Vec<u16>,
    pub(crate) refuses: Option<u16>,
    pub(crate) asked: usize,
    pub(crate) slow: bool,
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
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) scheduler: FakeScheduler,
    pub(crate) forge: Arc<Mutex<Forge>>,
    pub(crate) url: String,
    _tasks: Tasks,
}

/// An agent that commits what it is told to, by a shell.
pub(crate) const COMMITS: &str = r#"eval "$(cat)" >&2
echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"#;

pub(crate) const COMMIT: &str = "echo $RANDOM$$ >>work; git add -A; git commit -qm work";

impl Scene {
    pub(crate) async fn new() -> Self {
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

    pub(crate) fn remote(&self) -> PathBuf {
        self.place.file("shop.git")
    }

    pub(crate) fn hook(&self, name: &str, script: &str) {
        let path = self.remote().join("hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
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
    pub(crate) fn commit_to(&self, branch: &str, message: &str) {
        let seed = self.place.file("seed");
        let seed = seed.to_str().unwrap();
        self.git(&["-C", seed, "checkout", "-q", "-B", branch]);
        self.git(&["-C", seed, "commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["-C", seed, "push", "-q", "-f", "origin", branch]);
    }

    /// What the forge's branch is.
    pub(crate) fn head(&self, branch: &str) -> String {
        self.git(&["--git-dir", self.remote().to_str().unwrap(), "rev-parse", branch])
    }

    /// The pushes to a branch that the forge saw.
    pub(crate) fn pushes(&self, branch: &str) -> usize {
        let name = format!(" refs/heads/{branch}");
        read(&self.place.file("pushes")).lines().filter(|line| line.ends_with(&name)).count()
    }

    pub(crate) fn spec(&self, job_id: i64, work: &str) -> RunSpec {
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

    pub(crate) async fn runner(&self) -> InProcess {
        self.runner_of_patience(Duration::ZERO).await
    }

    pub(crate) async fn runner_of_patience(&self, step_patience: Duration) -> InProcess {
        let mut options = self.place.options(&self.scheduler);
        options.git_token = Some(Secret::new(TOKEN));
        options.gitea_api_url = Some(self.url.clone());
        options.step_patience = step_patience;
        InProcess::start(options, &self.scheduler).await
    }

    pub(crate) async fn run(&self, runner: &mut InProcess, spec: RunSpec) -> Outcome {
        self.run_in(&mut runner.client, runner.incarnation, spec).await
    }

    pub(crate) async fn run_in(
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

pub(crate) fn states(outcome: &Outcome) -> Vec<(StepKind, StepState)> {
    outcome.steps.iter().map(|facts| (facts.step, facts.state)).collect()
}

pub(crate) const ALL_DONE: [(StepKind, StepState); 2] =
    [(StepKind::Push, StepState::Done), (StepKind::PullRequest, StepState::Done)];

pub(crate) fn conclusion(outcome: &Outcome) -> Conclusion {
    classify::conclude(outcome, false, &classify::Patterns::default(), outcome.ended_at).0
}
