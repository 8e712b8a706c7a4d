//! A PostgreSQL server of a test's own: a folder, a socket in it, and no port.
//!
//! It belongs to a shell that listens to the test's process and ends the server with it, however that process ends. A
//! server must not run as root, so the shell is given to another user then. Databases are made and dropped by name.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where Debian and others keep what belongs to one version.
const VERSIONS: [&str; 2] = ["/usr/lib/postgresql", "/usr/pgsql"];
/// Who may own a server when root may not.
const OWNERS: [&str; 2] = ["postgres", "nobody"];

/// A server under way; ends when it is dropped, or with the process.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    shell: Mutex<Shell>,
}

#[derive(Debug)]
struct Shell {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Connections are cut, transactions undone, everything written down.
    Fast,
    /// Like a crash: it recovers when it starts again.
    Immediate,
    /// SIGKILL to all of its processes at once.
    Kill,
}

impl Server {
    /// Makes and starts a server. Without `durable` it skips fsync, which no test of a crash of the host may do.
    ///
    /// # Panics
    /// Where there is no PostgreSQL, or it does not start: says what to do.
    pub fn start(durable: bool) -> Self {
        let mut child = command(&binaries(), durable).spawn().expect("could not start sh");
        let ask = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("the shell has an output"));
        let mut folder = String::new();
        answers.read_line(&mut folder).expect("could not read from the shell");
        assert!(!folder.is_empty(), "PostgreSQL did not start: see what it says above");
        Self { folder: folder.trim_end().into(), shell: Mutex::new(Shell { child, ask, answers }) }
    }

    /// The server that all tests of this process share, for databases of their own. It skips fsync.
    pub fn shared() -> &'static Arc<Self> {
        static SHARED: OnceLock<Arc<Server>> = OnceLock::new();
        SHARED.get_or_init(|| Arc::new(Self::start(false)))
    }

    /// Makes an empty database, which is dropped with what is returned.
    pub fn database(self: &Arc<Self>) -> Database {
        self.database_like("template0")
    }

    fn database_like(self: &Arc<Self>, template: &str) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("orch_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Database { server: Arc::clone(self), name }
    }

    /// Starts a transaction-pooling proxy (`pgbouncer`) in front of it, which ends with it; false where there is none on this
    /// host. Once for a server.
    pub fn pool(&self) -> bool {
        self.ask("pool") == "done"
    }

    /// Runs a statement as the server's owner, in a database beside the tests' own.
    ///
    /// # Panics
    /// When it is refused.
    pub fn sql(&self, sql: &str) {
        let answer = self.ask(&format!("sql {sql}"));
        assert_eq!(answer, "done", "{sql}");
    }

    /// Ends the server, not its folder.
    pub fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
            Stop::Kill => "kill",
        };
        assert_eq!(self.ask(&format!("stop {mode}")), "done");
    }

    /// Starts it again.
    pub fn start_again(&self) {
        assert_eq!(self.ask("start"), "done", "see {}", self.folder.join("log").display());
    }

    fn ask(&self, line: &str) -> String {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let shell = &mut *shell;
        let ask = shell.ask.as_mut().expect("the shell listens until the end");
        writeln!(ask, "{}", line.replace('\n', " ")).expect("the shell listens");
        let mut answer = String::new();
        shell.answers.read_line(&mut answer).expect("the shell answers");
        answer.trim_end().to_owned()
    }

    /// The url of a database of that name.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=orch", self.folder.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        shell.ask = None;
        let _ = shell.child.wait();
    }
}

/// A database of a test's own; dropped with everybody's connections.
#[derive(Debug)]
pub struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    /// What `ORCH_DATABASE_URL` is for it.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The same through the proxy that [`Server::pool`] started.
    pub fn pooled_url(&self) -> String {
        let folder = self.server.folder.join("pool");
        format!("postgres:///{}?host={}&port=6432&user=orch", self.name, folder.display())
    }

    /// Another that is as this one is now; nobody may be connected to it.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.server.database_like(&self.name)
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it is on.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have been stopped by the test, with which the database goes anyway.
        self.server.ask(&format!("sql DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn command(binaries: &Path, durable: bool) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let owner = owner();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", owner.0, "--regid", &owner.1, "--clear-groups", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command
        .args(["-c", include_str!("supervise.sh"), "postgres-server"])
        .arg(binaries)
        .arg(if durable { "on" } else { "off" })
        .current_dir("/")
        .env_remove("PGDATA")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A user that is there, and its group.
fn owner() -> (&'static str, String) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd names the users");
    let group = |owner: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(owner))?;
        line.split(':').nth(3).map(str::to_owned)
    };
    let found = OWNERS.into_iter().find_map(|owner| Some((owner, group(owner)?)));
    found.expect("a PostgreSQL server must not run as root: there is no user postgres or nobody to run it as")
}

/// The folder of `initdb`, `pg_ctl` and `psql`, the newest version's where there are several.
pub fn binaries() -> PathBuf {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = VERSIONS
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|versions| versions.flatten().map(|version| version.path().join("bin")))
        .collect();
    folders.sort_by_key(|folder| version(folder));
    let found = folders.into_iter().rev().chain(env::split_paths(&on_path));
    found
        .into_iter()
        .find(|folder| folder.join("initdb").exists())
        .expect("there is no initdb: install the package postgresql, as ./dev test does")
}

fn version(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}
