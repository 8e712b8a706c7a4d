//! What the agents of one work item do, as data: written by whoever plans, played by the fake `claude`, and held against
//! what the services recorded.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The setting of the fake that names the folder of a [`Stage`]; agents get it by `ORCH_AGENT_ENV`.
pub const PLAY_SETTING: &str = "FAKE_CLAUDE_PLAY";

/// What the agents of one work item do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The analyst's turn.
    pub analyst: Turn,
    /// The architect's turn.
    pub architect: Turn,
    /// One for each time that development is done, so one for each commit.
    pub rounds: Vec<Round>,
    /// The deployer's turn.
    pub deployer: Turn,
}

/// A commit, and what those say who judge it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Round {
    /// The developer's turn.
    pub developer: Turn,
    /// The reviewer's turn.
    pub reviewer: Turn,
    /// The tester's turn.
    pub tester: Turn,
    /// Whether the forge's tests of the commit are red.
    pub red: bool,
}

/// One job of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Turn {
    /// How its final message ends.
    pub says: Says,
    /// How it ends when it is asked for the form alone.
    pub again: Says,
    /// What befalls the first try.
    pub fault: Option<Fault>,
    /// How long it works, in milliseconds.
    pub work_ms: u64,
}

/// How a final message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// In form, a pass.
    #[default]
    Pass,
    /// In form, a fail with two findings.
    Fail,
    /// Praise and no block.
    Prose,
    /// A fail, and on second thought a pass.
    Two,
    /// A pass with a key that nobody asked for.
    Shape,
    /// A pass of a commit that nobody asked about; of a stage that judges, no verdict.
    OtherHead,
    /// A pass, after the words that were given to work on: who does so was talked into it.
    Echo,
}

/// What befalls the first try of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It crashes.
    Crash,
    /// It ends without a result.
    NoResult,
    /// The API is overloaded.
    Overloaded,
}

/// What becomes of an item after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It goes on.
    Pass,
    /// It goes back.
    Fail,
    /// A person is asked.
    Unreadable,
}

impl Says {
    /// How a stage that asks for a verdict must read it; `judges`: of one commit.
    pub const fn reading(self, judges: bool) -> Reading {
        match self {
            Self::Pass => Reading::Pass,
            Self::Fail => Reading::Fail,
            Self::OtherHead if !judges => Reading::Pass,
            Self::Prose | Self::Two | Self::Shape | Self::OtherHead | Self::Echo => Reading::Unreadable,
        }
    }
}

impl Turn {
    /// A turn that ends like this.
    pub fn says(says: Says) -> Self {
        Self { says, ..Self::default() }
    }

    /// Whether the form is asked for once more.
    pub fn is_asked_again(&self, judges: bool) -> bool {
        self.says.reading(judges) == Reading::Unreadable
    }

    /// What comes of it in the end.
    pub fn reading(&self, judges: bool) -> Reading {
        if self.is_asked_again(judges) { self.again.reading(judges) } else { self.says.reading(judges) }
    }
}

/// The folder that scripts lie in and in which the fakes note what they were given and did.
#[derive(Debug, Clone)]
pub struct Stage(PathBuf);

/// What a fake was given, as it noted it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// The job.
    pub job: i64,
    /// The work item.
    pub item: String,
    /// The role, or `reformat`.
    pub role: String,
    /// Its arguments, the program included.
    pub argv: Vec<String>,
    /// Its environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// What came on stdin.
    pub prompt: String,
    /// The commit that it was to judge.
    pub head: Option<String>,
}

impl Stage {
    /// In this folder, which is made.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(folder: PathBuf) -> io::Result<Self> {
        for inner in ["scripts", "seen", "jobs", "commits", "faults", "again", "locks"] {
            std::fs::create_dir_all(folder.join(inner))?;
        }
        Ok(Self(folder))
    }

    /// The folder, made before.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Gives an item its script; `default` is the key of all that have none.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn give(&self, item: &str, script: &Script) -> io::Result<()> {
        std::fs::write(self.place("scripts", item), serde_json::to_vec(script)?)
    }

    /// An item's script.
    ///
    /// # Errors
    /// Neither it nor a `default` is there, or it cannot be read.
    pub fn script(&self, item: &str) -> io::Result<Script> {
        let text = std::fs::read(self.place("scripts", item));
        Ok(serde_json::from_slice(&text.or_else(|_| std::fs::read(self.place("scripts", "default")))?)?)
    }

    /// How many jobs of a role an item had before this one; the tries of one job count once.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn round_of(&self, item: &str, role: &str, job: &str) -> io::Result<usize> {
        let path = self.place("jobs", &format!("{item}.{role}"));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.lock()?;
        let known = std::fs::read_to_string(&path)?;
        let place = known.lines().position(|line| line == job);
        if place.is_none() {
            (&file).write_all(format!("{job}\n").as_bytes())?;
        }
        Ok(place.unwrap_or(known.lines().count()))
    }

    /// How many jobs of a role an item had.
    pub fn jobs(&self, item: &str, role: &str) -> usize {
        let known = std::fs::read_to_string(self.place("jobs", &format!("{item}.{role}")));
        known.map_or(0, |known| known.lines().count())
    }

    /// Notes the commit of an item's round, once.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn committed(&self, item: &str, round: usize, sha: &str) -> io::Result<()> {
        if self.rounds(item).iter().any(|(_, known)| known == sha) {
            return Ok(());
        }
        let path = self.place("commits", item);
        let line = format!("{round} {sha}\n");
        OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
    }

    /// Which round of an item a commit was made in.
    pub fn round_of_commit(&self, item: &str, sha: &str) -> Option<usize> {
        self.rounds(item).into_iter().find_map(|(round, known)| (known == sha).then_some(round))
    }

    /// The commits of an item by round; of a round that was tried again, the newest.
    pub fn commits(&self, item: &str) -> Vec<String> {
        let newest: BTreeMap<usize, String> = self.rounds(item).into_iter().collect();
        newest.into_values().collect()
    }

    fn rounds(&self, item: &str) -> Vec<(usize, String)> {
        let text = std::fs::read_to_string(self.place("commits", item)).unwrap_or_default();
        let round = |line: &str| {
            line.split_once(' ').and_then(|(round, sha)| Some((round.parse().ok()?, sha.to_owned())))
        };
        text.lines().filter_map(round).collect()
    }

    /// Whether this is the first time that something befalls a job.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn befalls_first(&self, job: &str) -> io::Result<bool> {
        match OpenOptions::new().create_new(true).write(true).open(self.place("faults", job)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes what a fake was given; a reader never sees a part.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn saw(&self, run: &str, seen: &Seen) -> io::Result<()> {
        let path = self.place("seen", &format!("{}-{run}", seen.job));
        let unfinished = path.with_extension("tmp");
        std::fs::write(&unfinished, serde_json::to_vec(seen)?)?;
        std::fs::rename(unfinished, path.with_extension("json"))
    }

    /// All that fakes were given, by job.
    ///
    /// # Errors
    /// A note cannot be read.
    pub fn seen(&self) -> io::Result<Vec<Seen>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.0.join("seen"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                all.push(serde_json::from_slice::<Seen>(&std::fs::read(path)?)?);
            }
        }
        all.sort_by_key(|seen| seen.job);
        Ok(all)
    }

    /// Remembers what a conversation ends with when it is asked for the form alone.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn when_asked_again(&self, session: &str, says: Says) -> io::Result<()> {
        std::fs::write(self.place("again", session), serde_json::to_vec(&says)?)
    }

    /// What a conversation ends with when it is asked for the form alone.
    pub fn asked_again(&self, session: &str) -> Option<Says> {
        serde_json::from_slice(&std::fs::read(self.place("again", session)).ok()?).ok()
    }

    /// Where the locks of jobs lie.
    pub fn locks(&self) -> PathBuf {
        self.0.join("locks")
    }

    fn place(&self, inner: &str, name: &str) -> PathBuf {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
        self.0.join(inner).join(name.replace(|letter| !plain(letter), "_"))
    }
}

/// The object id of a commit where there is no repository.
pub fn made_up_sha(item: &str, round: usize) -> String {
    let mut sha = hex::encode(Sha256::digest(format!("{item} {round}")));
    sha.truncate(40);
    sha
}
