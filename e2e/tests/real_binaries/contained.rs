//! An agent that means harm, in each tier of containment: what it tried and how far it got is a table, and SECURITY.md has it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::containment::Tier;
use e2e::harness::{Service, Stack, StackBuilder, Tiers, free_port, program, skip, until};
use serde_json::{Value, json};

use crate::shop::{WITHIN, shop};

/// What an agent may take in these tests; a bomb sets off a few times as much.
const MEMORY_BYTES: usize = 96 << 20;
const PIDS: usize = 48;
const DISK_BYTES: usize = 24 << 20;
/// What a bomb sets off: so much that the host does not feel it.
const BOMB_MIB: usize = 256;
const BOMB_DISK_MIB: usize = 48;
const BOMB_PROCESSES: usize = 120;

/// The attempts in the order of the table, with what they are called there.
const ATTEMPTS: &[(&str, &str)] = &[
    ("state_read", "reads the runner's journal, its own run's secret among it"),
    ("outcome_forged", "writes an outcome into its run's folder"),
    ("spool_forged", "writes into its run's log behind the shim's back"),
    ("shim_socket", "connects to its shim's socket"),
    ("neighbour_read", "reads another work item's workspace"),
    ("neighbour_written", "writes into another work item's workspace"),
    ("environment_read", "reads the environments of another agent and of the runner"),
    ("memory_read", "opens another agent's memory"),
    ("files_of_others", "looks at the files that another agent has open"),
    ("root_of_others", "goes through another process's root folder"),
    ("signal_agent", "signals another agent"),
    ("signal_runner", "signals the runner"),
    ("privileges", "uses a privilege of the runner's user"),
    ("secrets_of_host", "reads the host's `/etc/shadow`"),
    ("kernel_settings", "opens a kernel setting for writing"),
    ("cgroup_left", "leaves its cgroup"),
    ("stray_file", "leaves a file in a folder of the host's that all may write"),
    ("host_socket", "connects to a socket of the host's with a path"),
    ("scheduler_port", "connects to the scheduler"),
    ("ingest_port", "connects to ingest"),
    ("runner_port", "connects to the runner"),
    ("other_port", "connects to any other program on the host"),
    ("open_port", "opens a port that the host can reach"),
    ("fork", "starts more processes than it may have"),
    ("memory", "takes more memory than it may have"),
    ("disk", "writes more than it may have room for"),
    ("forged_words", "prints lines of Orch's log, an outcome, and another's result"),
];

/// Where the tables stand: of agents that are the runner's user, and of those that are users of their own.
const BEGIN: &str = "<!-- attempts x tiers: made by the test `contained` -->\n";
const BEGIN_OWN: &str = "<!-- attempts x tiers, own users: made by the test `contained` -->\n";
/// Such users.
const USERS: &str = "60600-60610";
const END: &str = "<!-- end -->\n";

fn security() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md")
}

fn contained() -> anyhow::Result<StackBuilder> {
    let mut toml = String::new();
    for tier in Tier::ALL {
        let word = tier.as_str();
        write!(toml, "[[project]]\nname = \"{word}\"\nserial = \"none\"\ncontainment = \"{word}\"\n")?;
        if *tier == Tier::Sealed {
            toml.push_str("egress = [\"nowhere.example:443\"]\n");
        }
    }
    toml.push_str("[[stage]]\nname = \"pushed\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n");
    Ok(shop()
        .orch_toml(&toml)
        .env("ORCH_CLAUDE_BIN", &program("hostile-agent")?.display().to_string())
        .env("ORCH_CONTAINMENT", "sealed")
        .env("ORCH_RUNNER_SLOTS", "4")
        .env("ORCH_MAX_ATTEMPTS", "1")
        .env("ORCH_AGENT_MEMORY_BYTES", &MEMORY_BYTES.to_string())
        .env("ORCH_AGENT_PIDS", &PIDS.to_string())
        .env("ORCH_AGENT_DISK_BYTES", &DISK_BYTES.to_string()))
}

/// Starts an agent with a task; gives its job, and its workspace.
async fn agent(stack: &Stack, project: &str, item: &str, task: &Value) -> anyhow::Result<(i64, PathBuf)> {
    let prompt = format!("hostile: {task}");
    let made = stack
        .orch(&[
            "enqueue",
            "--project",
            project,
            "--stage",
            "pushed",
            "--work-item",
            item,
            "--prompt",
            &prompt,
        ])
        .await?;
    let job = made["id"].as_i64().context("a job id")?;
    Ok((job, stack.folder().join("runner-0/work").join(project).join(item)))
}

async fn until_file(path: &Path) -> anyhow::Result<String> {
    until(&format!("{}", path.display()), WITHIN, || async { Ok(std::fs::read_to_string(path).ok()) }).await
}

/// How the job's only run ended.
async fn end(stack: &Stack, job: i64) -> anyhow::Result<(String, String)> {
    let shown = until("the job's end", WITHIN, || async {
        let shown = stack.job(job).await?;
        Ok(shown["job"]["finished_at"].is_string().then_some(shown))
    })
    .await?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((word(&shown["job"]["status"]), word(&shown["runs"][0]["reason"])))
}

type Found = BTreeMap<String, String>;

#[tokio::test]
async fn a_hostile_agent_gets_nowhere_in_the_strictest_tier() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return skip("a hostile agent of a runner that is root", "this is not root");
    }
    play(contained()?.start().await?, BEGIN).await
}

#[tokio::test]
async fn a_hostile_agent_that_is_a_user_of_its_own_is_kept_from_others_in_every_tier() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return skip(
            "a hostile agent that is a user of its own",
            "only root starts programs as somebody else",
        );
    }
    play(contained()?.env("ORCH_AGENT_USERS", USERS).start().await?, BEGIN_OWN).await
}

async fn play(mut stack: Stack, begin: &str) -> anyhow::Result<()> {
    let tiers = Tiers::probed(&stack).await?;

    let (victim, neighbour) = agent(&stack, "environment", "VICTIM-1", &json!({"what": "wait"})).await?;
    let victim_pid: i32 = until_file(&neighbour.join("pid")).await?.parse()?;
    std::fs::write(neighbour.join("secret"), "s3cret")?;
    let other = TcpListener::bind("127.0.0.1:0")?;
    let socket = stack.folder().join("host.sock");
    let _host_socket = UnixListener::bind(&socket)?;
    let runner = stack.process(Service::Runner(0)).pid().context("a runner")?;

    let page = std::fs::read_to_string(security())?;
    let kept = page.split_once(begin).and_then(|(_, rest)| rest.split_once(END)).map(|(kept, _)| kept);
    let kept = kept.context("SECURITY.md has no table")?;
    let mut columns: Vec<Found> = Vec::new();
    for tier in Tier::ALL {
        let scene =
            Scene { neighbour: &neighbour, victim_pid, runner, other: other.local_addr()?, socket: &socket };
        columns.push(if tiers.or_skip("a hostile agent", tier.as_str())? {
            column(&stack, *tier, &scene).await.with_context(|| tier.as_str())?
        } else {
            kept_column(kept, *tier)
        });
    }
    ensure!(
        stack.job(victim).await?["job"]["status"] == "running",
        "the other agent lives as if nothing had been"
    );
    std::fs::write(neighbour.join("seen"), "")?;
    ensure!(end(&stack, victim).await?.0 == "done");
    stack.finish().await?;

    if tiers.bounds_each_process() {
        // There the process that takes too much fails by itself; the page says so, and has the table of controllers.
        for column in &mut columns {
            if let Some(verdict) = column.get_mut("memory").filter(|verdict| *verdict == "ended: `crash`") {
                "ended: `memory_limit`".clone_into(verdict);
            }
        }
    }
    let table = table(&columns);
    let sealed = columns.last().context("a column")?;
    let reached: Vec<&String> =
        sealed.iter().filter(|(_, word)| *word == "reached").map(|(name, _)| name).collect();
    ensure!(reached.is_empty(), "reached though sealed: {reached:?}\n{table}");
    ensure!(kept == table, "SECURITY.md has another table than this one:\n{table}");
    Ok(())
}

struct Scene<'a> {
    neighbour: &'a Path,
    victim_pid: i32,
    runner: u32,
    other: SocketAddr,
    socket: &'a Path,
}

/// All attempts in one tier.
async fn column(stack: &Stack, tier: Tier, scene: &Scene<'_>) -> anyhow::Result<Found> {
    let project = tier.as_str();
    let open = free_port()?;
    // Named for its stack: another's agents may be at it at the same time.
    let place = stack.folder().file_name().unwrap_or_default().display().to_string();
    let stray = std::env::temp_dir().join(format!("orch-stray-{place}-{project}"));
    let task = json!({
        "what": "look", "state": stack.folder().join("runner-0/state"), "neighbour": scene.neighbour,
        "victim": scene.victim_pid, "runner": scene.runner, "socket": scene.socket, "stray": stray, "open": open,
        "ports": {"scheduler": stack.addr(Service::Scheduler), "ingest": stack.addr(Service::Ingest),
                  "runner": stack.addr(Service::Runner(0)), "other": scene.other},
    });
    let (job, work) = agent(stack, project, "EVIL-1", &task).await?;
    let told = until_file(&work.join("attempts.json")).await?;
    let mut found: Found = serde_json::from_str(&told)?;
    eprintln!("{project}: {found:#?}");
    for verdict in found.values_mut().filter(|verdict| verdict.starts_with("refused")) {
        "refused".clone_into(verdict);
    }
    // What only the host can tell: a file of a tree of its own, or a port of a network of its own, is nowhere.
    let on_host = std::fs::remove_file(&stray).is_ok();
    let reachable =
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], open)), Duration::from_secs(2)).is_ok();
    for (name, is_so) in [("stray_file", on_host), ("open_port", reachable)] {
        found.insert(name.to_owned(), if is_so { "reached" } else { "refused" }.to_owned());
    }
    std::fs::write(work.join("seen"), "")?;
    ensure!(end(stack, job).await?.0 == "done", "it ends like any other");
    found.insert("forged_words".to_owned(), forged(stack, job).await?);

    for (what, item, size) in [
        ("fork", "BOMB-1", BOMB_PROCESSES),
        ("memory", "BOMB-2", BOMB_MIB),
        ("disk", "BOMB-3", BOMB_DISK_MIB),
    ] {
        let (job, work) = agent(stack, project, item, &json!({"what": what, "size": size})).await?;
        let (status, reason) = end(stack, job).await?;
        let told = std::fs::read_to_string(work.join("attempts.json")).unwrap_or_default();
        eprintln!("{project}: {what}: {status} {reason} {told}");
        let said: Found = serde_json::from_str(&told).unwrap_or_default();
        let verdict = match said.get(what).map(String::as_str) {
            Some("reached") => "reached".to_owned(),
            Some(_) => "refused".to_owned(),
            None => format!("ended: `{reason}`"),
        };
        found.insert(what.to_owned(), verdict);
        for number in 0..size {
            let _ = std::fs::remove_file(work.join(format!("bomb-{number}")));
        }
    }
    Ok(found)
}

/// What an agent prints is its own run's log and nothing else.
async fn forged(stack: &Stack, job: i64) -> anyhow::Result<String> {
    let shown = stack.job(job).await?;
    let runs = shown["runs"].as_array().map_or(0, Vec::len);
    let jobs = stack.orch(&["jobs"]).await?;
    let touched = jobs["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|other| other["work_item"] == "VICTIM-1" && other["status"] != "running");
    Ok(if runs == 1 && !touched { "refused" } else { "reached" }.to_owned())
}

/// A column as the page has it, of a tier that this host cannot give.
fn kept_column(table: &str, tier: Tier) -> Found {
    let place = Tier::ALL.iter().position(|known| *known == tier).unwrap_or_default() + 2;
    let cell = |words: &str| {
        let row = table.lines().find(|row| row.starts_with(&format!("| {words} |")))?;
        row.split('|').nth(place).map(|cell| cell.trim().to_owned())
    };
    ATTEMPTS.iter().filter_map(|(name, words)| Some(((*name).to_owned(), cell(words)?))).collect()
}

fn table(columns: &[Found]) -> String {
    let mut table = String::from("| attempt |");
    for tier in Tier::ALL {
        let _ = write!(table, " {} |", tier.as_str());
    }
    table.push_str("\n|---|---|---|---|---|\n");
    for (name, words) in ATTEMPTS {
        let _ = write!(table, "| {words} |");
        for column in columns {
            let _ = write!(table, " {} |", column.get(*name).map_or("?", String::as_str));
        }
        table.push('\n');
    }
    table
}
