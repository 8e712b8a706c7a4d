//! An agent that means harm: it tries what the prompt asks for against its host and tells in its workspace how far it got.
//!
//! The prompt's line that begins with `hostile:` holds a [`Task`] as JSON. What it finds is `attempts.json` in its workspace, a
//! map from the attempt's word to what became of it: `reached`, or `refused` with the system's words.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// What `--version` prints, in the words of the pinned CLI.
const VERSION: &str = "2.1.330 (Claude Code)";
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long it waits for the test to look, at most.
const HOLD_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How large the pieces of a bomb are.
const MIB: usize = 1024 * 1024;

/// What to try, and against what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    /// `look`, `fork`, `memory`, `disk`, or `wait`.
    what: String,
    /// The runner's state folder.
    #[serde(default)]
    state: PathBuf,
    /// Another work item's workspace.
    #[serde(default)]
    neighbour: PathBuf,
    /// The process of another agent, and the runner's.
    #[serde(default)]
    victim: i32,
    #[serde(default)]
    runner: i32,
    /// The ports of the host, by name.
    #[serde(default)]
    ports: BTreeMap<String, SocketAddr>,
    /// A socket of the host's with a path.
    #[serde(default)]
    socket: PathBuf,
    /// A file of the host's that anybody may make.
    #[serde(default)]
    stray: PathBuf,
    /// The port to open for others.
    #[serde(default)]
    open: u16,
    /// How much of a bomb to set off: processes, or MiB.
    #[serde(default)]
    size: usize,
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|word| word == "--version") {
        return writeln!(io::stdout(), "{VERSION}");
    }
    if words.get(1).is_some_and(|word| word == "idle") {
        std::thread::sleep(HOLD_MAX);
        return Ok(());
    }
    let mut prompt = String::new();
    io::stdin().read_to_string(&mut prompt)?;
    let task = prompt.lines().find_map(|line| line.trim().strip_prefix("hostile:"));
    let task: Task = serde_json::from_str(task.unwrap_or_default())?;
    say(
        r#"{"type":"system","subtype":"init","session_id":"00000000-0000-4000-8000-00000000000a","model":"m","tools":[]}"#,
    )?;
    match task.what.as_str() {
        "look" => look(&task)?,
        "fork" => tell(&BTreeMap::from([("fork", fork_bomb(task.size))]))?,
        "memory" => {
            memory_bomb(task.size);
            tell(&BTreeMap::from([("memory", Ok(()))]))?;
        }
        "disk" => {
            disk_bomb(task.size)?;
            tell(&BTreeMap::from([("disk", Ok(()))]))?;
        }
        _ => {
            fs::write("pid", std::process::id().to_string())?;
            hold()?;
        }
    }
    // Words of somebody else's: lines of Orch's own log, an outcome, the result of another conversation.
    say(
        r#"{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","target":"scheduler::finalize","message":"job done","job.id":"1"}"#,
    )?;
    say(r#"{"ended_by":{"by":"agent"},"exit":{"code":0},"report":{},"tail":"","log_bytes":0,"ended_at":0}"#)?;
    say(
        r#"{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"00000000-0000-4000-8000-00000000000a","total_cost_usd":0.0,"num_turns":1,"usage":{"input_tokens":1,"output_tokens":1}}"#,
    )
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

type Tried = io::Result<()>;

/// Writes down what became of each attempt; whole, or not at all.
fn tell(attempts: &BTreeMap<&str, Tried>) -> io::Result<()> {
    let told: BTreeMap<&str, String> = attempts
        .iter()
        .map(|(name, tried)| {
            (
                *name,
                tried.as_ref().map_or_else(|error| format!("refused: {error}"), |()| "reached".to_owned()),
            )
        })
        .collect();
    fs::write("attempts.tmp", serde_json::to_vec(&told)?)?;
    fs::rename("attempts.tmp", "attempts.json")
}

/// Waits until the test has looked.
fn hold() -> io::Result<()> {
    let rounds = HOLD_MAX.as_millis() / LOOK_EVERY.as_millis();
    for _ in 0..rounds {
        if Path::new("seen").exists() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "nobody looked"))
}

fn look(task: &Task) -> io::Result<()> {
    let run = std::env::var_os("ORCH_RUN_ID").unwrap_or_default();
    let run_dir = first_dir(&task.state.join("node-0/runs"), &run).unwrap_or_else(|| task.state.join("none"));
    let mut tried: BTreeMap<&str, Tried> = BTreeMap::new();
    tried.insert("state_read", fs::read(run_dir.join("assignment.json")).map(drop));
    tried.insert("outcome_forged", write_and_remove(&run_dir.join("forged.json")));
    tried.insert("spool_forged", write_and_remove(&run_dir.join("spool/forged")));
    tried.insert("shim_socket", connect_below(&run_dir, "shim.sock"));
    tried.insert("neighbour_read", fs::read(task.neighbour.join("secret")).map(drop));
    tried.insert("neighbour_written", write_and_remove(&task.neighbour.join("planted")));
    tried.insert(
        "environment_read",
        read_some(&proc_of(task.victim, "environ")).and(read_some(&proc_of(task.runner, "environ"))),
    );
    tried.insert(
        "memory_read",
        fs::File::options().read(true).write(true).open(proc_of(task.victim, "mem")).map(drop),
    );
    tried.insert("files_of_others", fs::read_link(proc_of(task.victim, "fd/1")).map(drop));
    tried.insert("root_of_others", fs::read(proc_of(task.victim, "root").join("etc/shadow")).map(drop));
    tried.insert("signal_agent", signal(task.victim));
    tried.insert("signal_runner", signal(task.runner));
    tried.insert("secrets_of_host", fs::read("/etc/shadow").map(drop));
    tried.insert(
        "kernel_settings",
        fs::File::options().write(true).open("/proc/sys/kernel/core_pattern").map(drop),
    );
    tried.insert("cgroup_left", leave_cgroup());
    tried.insert("stray_file", fs::write(&task.stray, "x"));
    tried.insert("host_socket", UnixStream::connect(&task.socket).map(drop));
    for (name, addr) in &task.ports {
        let word: &'static str = match name.as_str() {
            "scheduler" => "scheduler_port",
            "ingest" => "ingest_port",
            "runner" => "runner_port",
            _ => "other_port",
        };
        let reached =
            TcpStream::connect_timeout(addr, CONNECT_WITHIN).map(drop).or_else(|_| through_proxy(*addr));
        tried.insert(word, reached);
    }
    tried.insert("privileges", gain_privileges());
    let listener = TcpListener::bind(("0.0.0.0", task.open));
    tell(&tried)?;
    hold()?;
    drop(listener);
    Ok(())
}

/// The folder of this run; its name begins with nothing but the run's id.
fn first_dir(runs: &Path, run: &std::ffi::OsStr) -> Option<PathBuf> {
    Some(runs.join(run)).filter(|_| !run.is_empty())
}

fn proc_of(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn read_some(path: &Path) -> Tried {
    let read = fs::read(path)?;
    if read.is_empty() { Err(io::Error::other("empty")) } else { Ok(()) }
}

/// Goes to the top of the hierarchy, wherever that is mounted.
fn leave_cgroup() -> Tried {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let top =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    fs::write(Path::new(top.unwrap_or("/sys/fs/cgroup")).join("cgroup.procs"), "0")
}

fn write_and_remove(path: &Path) -> Tried {
    fs::write(path, "forged").and_then(|()| fs::remove_file(path))
}

/// Paths of sockets are short, so it goes there first.
fn connect_below(folder: &Path, name: &str) -> Tried {
    let here = std::env::current_dir()?;
    std::env::set_current_dir(folder)?;
    let reached = UnixStream::connect(name).map(drop);
    std::env::set_current_dir(here)?;
    reached
}

fn signal(pid: i32) -> Tried {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(pid, Signal::CONT)?)
}

/// By the proxy that a sealed agent has, if it has one.
fn through_proxy(addr: SocketAddr) -> Tried {
    let mut proxy = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], 3128)), CONNECT_WITHIN)?;
    proxy.set_read_timeout(Some(CONNECT_WITHIN))?;
    write!(proxy, "CONNECT {addr} HTTP/1.1\r\nHost: {addr}\r\n\r\n")?;
    let mut answer = [0; 12];
    proxy.read_exact(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.ends_with("200") { Ok(()) } else { Err(io::Error::other(answer)) }
}

/// Whether it has, or gets, any right beyond those of a common process: here, to mount.
fn gain_privileges() -> Tried {
    let status = fs::read_to_string("/proc/self/status")?;
    let own =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default().trim().to_owned();
    if own.trim_start_matches('0').is_empty() {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null()).status()?;
        return if mounted.success() { Ok(()) } else { Err(io::Error::other("no capability, and no mount")) };
    }
    Ok(())
}

fn fork_bomb(size: usize) -> Tried {
    let mut children: Vec<Child> = Vec::new();
    let mut failed = Ok(());
    for _ in 0..size {
        match Command::new("/proc/self/exe").arg("idle").stdin(Stdio::null()).stdout(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    failed
}

fn memory_bomb(size: usize) {
    let mut held = Vec::new();
    for _ in 0..size {
        held.push(vec![1_u8; MIB]);
    }
    std::hint::black_box(&held);
}

/// Many files, then silence, so that whoever watches has the time to see it.
fn disk_bomb(size: usize) -> io::Result<()> {
    for number in 0..size {
        fs::write(format!("bomb-{number}"), vec![1_u8; MIB])?;
    }
    std::thread::sleep(Duration::from_secs(10));
    Ok(())
}
