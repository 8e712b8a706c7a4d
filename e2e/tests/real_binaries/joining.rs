//! Runners on hosts of their own join over mutual TLS, work, have their certificates replaced and are thrown out; whoever
//! has no business there is refused, and the log says so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::harness::{Network, ServiceProcess, free_port, program, until};
use serde_json::Value;
use tokio::process::Command;

use crate::shop::WITHIN;

const HOSTS: usize = 3;
/// Short enough that certificates end while the test goes on.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(9);
const ORCH_TOML: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\n\
    [[stage]]\nname = \"work\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n";

/// A scheduler with an authority of its own, and the hosts around it.
struct Site {
    folder: tempfile::TempDir,
    network: Network,
    url: String,
    scheduler: ServiceProcess,
}

impl Site {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("orch-e2e-").tempdir()?;
        let root = folder.path();
        std::fs::write(root.join("orch.toml"), ORCH_TOML)?;
        std::fs::write(root.join("prompt.md"), "{{ request }}\n")?;
        let network = Network::create(HOSTS, root)?;
        let addr = SocketAddr::new(network.gateway().into(), free_port()?);
        let mut env = settings(root);
        env.insert("ORCH_CA_DIR".into(), root.join("ca").display().to_string());
        env.insert("ORCH_SCHEDULER_ADDR".into(), addr.to_string());
        env.insert("ORCH_CERTIFICATE_LIFETIME".into(), format!("{}s", CERTIFICATE_LIFETIME.as_secs()));
        env.insert("ORCH_UNREACHABLE_SECONDS".into(), "3".into());
        env.insert("ORCH_RENEW_SECONDS".into(), "1".into());
        let command = vec![program("orch-scheduler")?.into()];
        let scheduler = ServiceProcess::new("scheduler", command, addr, root, env);
        let mut site = Self { url: format!("https://{addr}"), folder, network, scheduler };
        site.orch_with_ca(&["ca", "init"]).await?;
        site.scheduler.spawn()?;
        site.until_said("listening").await?;
        Ok(site)
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> String {
        self.root().join(name).display().to_string()
    }

    /// Runs `orch` where the authority's folder is; it makes itself a certificate.
    async fn orch_with_ca(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let ca = self.path("ca");
        let answer = self.orch(&[("ORCH_CA_DIR", &ca)], arguments).await?;
        answer.map_err(|error| anyhow::anyhow!("orch {arguments:?}: {error}"))
    }

    /// Runs `orch` with other settings; what it printed, or what it complained of.
    async fn orch(&self, env: &[(&str, &str)], arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
        let mut command = Command::new(program("orch")?);
        command.env_clear().envs(settings(self.root())).env("ORCH_SCHEDULER_URL", &self.url);
        command.envs(env.iter().copied()).args(arguments).arg("--json").current_dir(self.root());
        let output = tokio::time::timeout(WITHIN, command.output()).await??;
        if !output.status.success() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Ok(serde_json::from_slice(&output.stdout)?))
    }

    async fn token(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let made = self.orch_with_ca(&[&["join-token"], arguments].concat()).await?;
        Ok(made["token"].as_str().context("a token")?.to_owned())
    }

    /// A runner on a host, not started.
    fn runner(&mut self, host: usize, token: &str) -> anyhow::Result<ServiceProcess> {
        let root = self.folder.path().to_owned();
        let name = format!("runner-{host}");
        let host = self.network.host(host);
        let addr = SocketAddr::new(host.addr().into(), free_port()?);
        let mut command = host.launcher();
        command.push(program("orch-runner")?.into());
        let mut env = settings(&root);
        env.insert("ORCH_RUNNER_ADDR".into(), addr.to_string());
        env.insert("ORCH_RUNNER_STATE_DIR".into(), root.join(&name).display().to_string());
        env.insert("ORCH_WORKSPACE_DIR".into(), root.join(format!("{name}-work")).display().to_string());
        env.insert("ORCH_CLAUDE_BIN".into(), program("fake-claude")?.display().to_string());
        env.insert("ORCH_JOIN_TOKEN".into(), token.to_owned());
        Ok(ServiceProcess::new(&name, command, addr, &root, env))
    }

    /// Waits until the scheduler's log has the words.
    async fn until_said(&self, words: &str) -> anyhow::Result<()> {
        until_said(&self.scheduler, words).await
    }

    async fn job(&self, id: i64) -> anyhow::Result<Value> {
        self.orch_with_ca(&["job", &id.to_string()]).await
    }

    async fn enqueue(&self, prompt: &str) -> anyhow::Result<i64> {
        let ask = ["enqueue", "--project", "shop", "--stage", "work", "--prompt", prompt];
        self.orch_with_ca(&ask).await?["id"].as_i64().context("a job's id")
    }

    async fn until_status(&self, id: i64, status: &str) -> anyhow::Result<Value> {
        let reached = || async {
            let job = self.job(id).await?;
            Ok((job["job"]["status"] == status).then_some(job))
        };
        until(&format!("job {id} {status}"), WITHIN, reached).await
    }

    /// What the node of a host calls itself.
    fn node_file(&self, host: usize, name: &str) -> PathBuf {
        self.root().join(format!("runner-{host}/node-0")).join(name)
    }

    fn node(&self, host: usize) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.node_file(host, "node_id"))?.trim().to_owned())
    }

    async fn until_state(&self, node: &str, state: &str) -> anyhow::Result<()> {
        let reached = || async {
            let listed = self.orch_with_ca(&["runners"]).await?;
            let runners = listed["runners"].as_array().cloned().unwrap_or_default();
            Ok(runners.iter().any(|one| one["id"] == node && one["state"] == state).then_some(()))
        };
        until(&format!("runner {node} {state}"), WITHIN, reached).await
    }
}

fn settings(root: &Path) -> BTreeMap<String, String> {
    let path = |name: &str| root.join(name).display().to_string();
    let search = std::env::var_os("PATH").unwrap_or_default().to_string_lossy().into_owned();
    [
        ("PATH", search),
        ("HOME", path("")),
        ("ORCH_DATABASE_URL", format!("sqlite://{}", path("orch.db"))),
        ("ORCH_CONFIG", path("orch.toml")),
        ("ORCH_LOG_DIR", path("run-logs")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn until_said(process: &ServiceProcess, words: &str) -> anyhow::Result<()> {
    let said = until(words, WITHIN, || async { Ok(process.log().contains(words).then_some(())) }).await;
    said.with_context(|| process.log_tail())
}

/// How often a log has the words.
fn count(process: &ServiceProcess, words: &str) -> usize {
    process.log().matches(words).count()
}

#[tokio::test]
async fn three_hosts_join_work_rotate_and_are_revoked() -> anyhow::Result<()> {
    let mut site = Site::start().await?;
    let once = site.token(&["--url", &site.url]).await?;
    let mut first = site.runner(0, &once)?;
    first.spawn()?;
    until_said(&first, "registered").await?;
    let mut second = site.runner(1, &site.token(&["--url", &site.url]).await?)?;
    second.spawn()?;
    until_said(&second, "registered").await?;
    let nodes = [site.node(0)?, site.node(1)?];
    for node in &nodes {
        site.until_state(node, "ready").await?;
    }

    // An agent on each host that outlives its runner's certificate, and its runner.
    let door = site.root().join("door");
    let prompt = format!("fake: say=1 await={}", door.display());
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(site.enqueue(&prompt).await?);
    }
    let mut on = BTreeMap::<String, i64>::new();
    for id in &jobs {
        let job = site.until_status(*id, "running").await?;
        let node = job["runs"][0]["runner"].as_str().context("a run's node")?.to_owned();
        on.insert(node, *id);
    }
    ensure!(on.len() == 2, "both hosts have agents: {on:?}");
    for runner in [&first, &second] {
        // Each is replaced after a third of its life: after four, the connections of the first are over.
        let rotated = || async { Ok((count(runner, "the node has a new certificate") >= 4).then_some(())) };
        until("certificates replaced", WITHIN, rotated).await.with_context(|| runner.log_tail())?;
    }
    ensure!(first.terminate().await?.success(), "it hands over");
    first.spawn()?;
    let again = || async { Ok((count(&first, " registered") >= 2).then_some(())) };
    until("registered again", WITHIN, again).await.with_context(|| first.log_tail())?;

    strangers_are_refused(&mut site, &once, &nodes, on[&nodes[0]]).await?;

    // Thrown out with agents on it: it is not heard, and gets nothing more.
    site.orch_with_ca(&["ca", "revoke", &format!("node/{}", nodes[1])]).await?;
    site.until_said(&format!("node/{} is revoked", nodes[1])).await?;
    site.until_state(&nodes[1], "unreachable").await?;
    std::fs::write(&door, "")?;
    for id in jobs {
        let job = site.job(id).await?;
        if job["runs"][0]["runner"] == nodes[0].as_str() {
            let done = site.until_status(id, "done").await?;
            ensure!(done["runs"].as_array().map(Vec::len) == Some(1), "one agent, one try: {done:#}");
        } else {
            ensure!(job["job"]["status"] == "running", "nothing of a revoked node is taken: {job:#}");
        }
    }

    for process in [&mut first, &mut second, &mut site.scheduler] {
        ensure!(process.terminate().await?.success(), "{}", process.log_tail());
    }
    let Site { network, folder, .. } = site;
    // The agents on the revoked host have ended by themselves; their keepers wait for nobody.
    let mut network = Some(network);
    let removed = until("hosts without processes", WITHIN, || {
        let gone = network.take_if(|network| (0..HOSTS).all(|host| network.host(host).is_idle()));
        async move { Ok(gone) }
    });
    removed.await?.remove()?;
    drop(folder);
    Ok(())
}

/// Everybody who has no business there, one after the other.
async fn strangers_are_refused(
    site: &mut Site,
    used: &str,
    nodes: &[String; 2],
    job: i64,
) -> anyhow::Result<()> {
    let url = site.url.clone();
    // A token that is used up, and one that is over.
    let mut third = site.runner(2, used)?;
    third.spawn()?;
    let ended = third.ended(WITHIN).await?;
    ensure!(ended.code() == Some(2) && third.log().contains("used up"), "{}", third.log_tail());
    let short = site.token(&["--url", &url, "--lifetime", "1ms"]).await?;
    third.set_env("ORCH_JOIN_TOKEN", &short);
    third.spawn()?;
    let ended = third.ended(WITHIN).await?;
    ensure!(ended.code() == Some(2) && third.log().contains("or is over"), "{}", third.log_tail());
    site.until_said("no certificate is given").await?;

    // No certificate, one of another authority, and one that may only look.
    let none = site.orch(&[], &["queue"]).await?;
    ensure!(none.as_ref().is_err_and(|said| said.contains("ORCH_TLS_CA")), "{none:?}");
    let (other, ours) = (site.path("other-ca"), site.path("ca"));
    let made = site.orch(&[("ORCH_CA_DIR", &other)], &["ca", "init"]).await?;
    ensure!(made.is_ok(), "{made:?}");
    for (ca, name, out) in [(&other, "admin/mallory", "mallory"), (&ours, "viewer/bob", "bob")] {
        let made = site.orch(&[("ORCH_CA_DIR", ca)], &["ca", "issue", name, "--out", out]).await?;
        ensure!(made.is_ok(), "{made:?}");
    }
    let (ca, cert, key) =
        (site.path("ca/ca.pem"), site.path("mallory/cert.pem"), site.path("mallory/key.pem"));
    let mallory = [("ORCH_TLS_CA", ca.as_str()), ("ORCH_TLS_CERT", &cert), ("ORCH_TLS_KEY", &key)];
    ensure!(site.orch(&mallory, &["queue"]).await?.is_err(), "a foreign certificate opens nothing");
    site.until_said("handshake refused").await?;
    let (cert, key) = (site.path("bob/cert.pem"), site.path("bob/key.pem"));
    let bob = [("ORCH_TLS_CA", ca.as_str()), ("ORCH_TLS_CERT", &cert), ("ORCH_TLS_KEY", &key)];
    ensure!(site.orch(&bob, &["queue"]).await?.is_ok(), "a viewer looks");
    let acted = site.orch(&bob, &["pause"]).await?;
    ensure!(acted.as_ref().is_err_and(|said| said.contains("viewer/bob may not call")), "{acted:?}");

    // A node of ours that lists another's run, and then one that calls itself another.
    third.set_env("ORCH_JOIN_TOKEN", &site.token(&["--url", &url]).await?);
    third.spawn()?;
    until_said(&third, "registered").await?;
    let own = site.node(2)?;
    ensure!(third.terminate().await?.success(), "{}", third.log_tail());
    let run = site.job(job).await?["job"]["run_id"].as_str().context("a live run")?.to_owned();
    // Another nonce: all hosts here see each other's processes, which real ones do not.
    let assignment = std::fs::read(site.node_file(0, "runs").join(&run).join("assignment.json"))?;
    let mut assignment: Value = serde_json::from_slice(&assignment)?;
    assignment["nonce"] = "of somebody else".into();
    let stolen = site.node_file(2, "runs").join(&run);
    std::fs::create_dir_all(&stolen)?;
    std::fs::write(stolen.join("assignment.json"), assignment.to_string())?;
    third.spawn()?;
    site.until_said("refused: a node claims another node's run").await?;
    third.kill().await?;
    let live = site.job(job).await?;
    ensure!(live["job"]["status"] == "running" && live["job"]["run_id"] == run.as_str(), "{live:#}");

    std::fs::write(site.node_file(2, "node_id"), &nodes[0])?;
    third.spawn()?;
    site.until_said(&format!("caller=node/{own}")).await?;
    site.until_said("refused: it speaks for another node").await?;
    third.kill().await?;
    let live = site.job(job).await?;
    ensure!(live["job"]["run_id"] == run.as_str(), "nothing moved: {live:#}");
    Ok(())
}
