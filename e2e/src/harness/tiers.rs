//! How far the host of a test lets agents be contained, by the word of the runner's own probe; and how a test says that a part of
//! it was left out. The probe is believed where the host, looked at without Orch, lacks something too.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope};
use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::{Stack, until};

/// The tiers in their order, each with all that the ones before it have.
const TIERS: [&str; 4] = ["environment", "limits", "sandbox", "sealed"];
/// A whole run of each tier, on a busy machine.
const PROBED_WITHIN: Duration = Duration::from_mins(3);
/// Names the file in which `./dev` reads what was left out.
const SKIPPED: &str = "ORCH_TEST_SKIPPED";

/// What the first runner of a stack found.
#[derive(Clone, Debug)]
pub struct Tiers {
    strictest: String,
    lacks: String,
    note: String,
}

impl Tiers {
    /// Waits until the probe is over.
    ///
    /// # Errors
    /// It is not over in time, or it gives less than the host has.
    pub async fn probed(stack: &Stack) -> anyhow::Result<Self> {
        let found = until("the probe", PROBED_WITHIN, || async {
            let runner = stack.orch(&["runners"]).await?["runners"][0].clone();
            let word = |name: &str| runner[name].as_str().unwrap_or_default().to_owned();
            let found = Self {
                strictest: word("containment"),
                lacks: word("containment_lacks"),
                note: word("containment_note"),
            };
            Ok((found.strictest == "sealed" || !found.lacks.is_empty()).then_some(found))
        })
        .await?;
        let host = missing_on_host();
        ensure!(
            found.gives("sealed") || host.is_some(),
            "the probe says that tier {} is all ({}), but this host has what every tier takes",
            found.strictest,
            found.lacks
        );
        Ok(found)
    }

    /// Whether it said that agents can be contained this far.
    #[must_use]
    pub fn gives(&self, tier: &str) -> bool {
        let rank = |word: &str| TIERS.iter().position(|known| *known == word);
        rank(tier).is_some_and(|wanted| rank(&self.strictest) >= Some(wanted))
    }

    /// Whether agents' memory is bounded for each process alone, for want of a controller.
    #[must_use]
    pub fn bounds_each_process(&self) -> bool {
        self.note.contains("without cgroup controllers memory")
    }

    /// Says that a test leaves out a tier which this host does not give; true when it gives it.
    ///
    /// # Errors
    /// Nothing may be left out here, see [`skip`].
    pub fn or_skip(&self, test: &str, tier: &str) -> anyhow::Result<bool> {
        if !self.gives(tier) {
            skip(&format!("{test} in tier {tier}"), &self.lacks)?;
        }
        Ok(self.gives(tier))
    }
}

/// Says that a part of a test is left out, and why, for `./dev` to count it.
///
/// # Errors
/// With `CI=true` nothing may be left out.
pub fn skip(part: &str, reason: &str) -> anyhow::Result<()> {
    eprintln!("skipped {part}: {reason}");
    if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
        bail!("{part} may not be skipped with CI=true: {reason}");
    }
    if let Some(file) = std::env::var_os(SKIPPED).filter(|file| !file.is_empty()) {
        let line = format!("{part}\t{}\n", reason.replace(['\n', '\t'], " "));
        let mut file = fs::File::options().append(true).create(true).open(file).context(SKIPPED)?;
        file.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// What this host lacks for the strictest tier, as far as can be seen without Orch; only root finds nothing missing.
fn missing_on_host() -> Option<&'static str> {
    if !geteuid().is_root() {
        return Some("root, so that cgroups need not be delegated");
    }
    if !(has_controller("memory") && has_controller("pids")) {
        return Some("cgroup controllers");
    }
    let landlock = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create);
    if landlock.is_err() {
        return Some("Landlock");
    }
    let alone = Command::new("unshare")
        .args(["--user", "--mount", "--net", "--ipc", "--uts", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    (!alone.is_ok_and(|status| status.success())).then_some("user namespaces")
}

/// Whether a hierarchy of either version has a controller whose cgroups may be made.
fn has_controller(name: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split_once(" - ")).any(|(fields, kind)| {
        let Some(folder) = fields.split(' ').nth(4) else { return false };
        let mut kind = kind.split(' ');
        let has = match kind.next() {
            Some("cgroup") => kind.nth(1).is_some_and(|options| options.split(',').any(|one| one == name)),
            Some("cgroup2") => fs::read_to_string(format!("{folder}/cgroup.controllers"))
                .is_ok_and(|names| names.split_ascii_whitespace().any(|one| one == name)),
            _ => false,
        };
        has && access(folder, Access::WRITE_OK).is_ok()
    })
}
