//! Users of their own for agents: a range of ids that nobody else on the host has, one for each agent that lives, so that
//! agents are kept from the runner and from each other by the owners of files and processes. All of them are in one group,
//! which has what the work items of a repository share.

use std::fs;
use std::io;

use rustix::process::{
    DumpableBehavior, Gid, Pid, PidfdFlags, Signal, Uid, geteuid, pidfd_open, pidfd_send_signal,
    set_dumpable_behavior,
};
use rustix::thread::{
    CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use serde::{Deserialize, Serialize};

use super::gone_within;

/// Whom an agent runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub uid: u32,
    /// Its only group.
    pub gid: u32,
}

/// The ids that agents may have: `FIRST-LAST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    pub(super) first: u32,
    pub(super) last: u32,
}

/// Rights that a runner needs which is not root.
const NEEDED: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::KILL, "CAP_KILL"),
];

impl Users {
    /// Reads `FIRST-LAST`.
    ///
    /// # Errors
    /// It is no range, or has root or the overflow user in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const NOBODY: u32 = 65534;
        let (first, last) = text.split_once('-').ok_or("must be FIRST-LAST, such as 60600-60639")?;
        let number =
            |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{text:?} is no user's number"));
        let users = Self { first: number(first)?, last: number(last)? };
        let known =
            users.first == 0 || users.last == u32::MAX || (users.first..=users.last).contains(&NOBODY);
        if users.first > users.last || known {
            return Err("must be a range of users that nobody else has, such as 60600-60639".to_owned());
        }
        Ok(users)
    }

    /// Whether any of them is `uid`.
    pub(crate) fn has(self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    /// Those of one runner: of several that share a state folder the one at `place`. The first is for looking whether agents
    /// can be run, one more is each slot's.
    ///
    /// # Errors
    /// There are not enough of them.
    pub(crate) fn of_runner(self, place: u32, slots: u32) -> Result<Vec<User>, String> {
        let each = u64::from(slots) + 1;
        let begin = u64::from(self.first) + u64::from(place) * each;
        if begin + each - 1 > u64::from(self.last) {
            return Err(format!(
                "ORCH_AGENT_USERS has too few: a runner with {slots} slots takes {each}, and {place} more runners share its \
                 state folder: name a wider range"
            ));
        }
        let ids = (begin..begin + each).filter_map(|uid| u32::try_from(uid).ok());
        Ok(ids.map(|uid| User { uid, gid: self.first }).collect())
    }
}

/// What this process lacks to start programs as somebody else; none when it may.
pub(crate) fn missing_right() -> Option<String> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let ambient =
        |right| geteuid().is_root() || rustix::thread::capability_is_in_ambient_set(right).unwrap_or(false);
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|(right, _)| !held.contains(*right) || !ambient(*right))
        .map(|(_, name)| name)
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

impl User {
    /// The calling process, which has one thread, becomes this user for good. What it holds open it keeps.
    pub(crate) fn enter(self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        // Else what the system says of this process would be root's, and it could make no namespace.
        Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
    }

    /// Kills whatever lives as this user; true when nothing does any more.
    pub(crate) fn clear(self) -> bool {
        gone_within(|| {
            let living = self.living();
            for pid in &living {
                // Held first, then looked at again: the pid may be another process by now.
                let Ok(held) = pidfd_open(*pid, PidfdFlags::empty()) else { continue };
                if self.owns(*pid) {
                    let _ = pidfd_send_signal(&held, Signal::KILL);
                }
            }
            living.is_empty()
        })
    }

    fn living(self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| {
            entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        });
        pids.filter(|pid| self.owns(*pid)).collect()
    }

    /// Whether a process that is not dead is this user's.
    fn owns(self, pid: Pid) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let dead = matches!(field("State:").trim().chars().next(), Some('Z' | 'X' | 'x'));
        let uid = self.uid.to_string();
        !dead && field("Uid:").split_ascii_whitespace().any(|id| id == uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_what_is_somebody_elses_is_refused() {
        let users = Users::parse("60600-60604").unwrap();
        assert!(users.has(60600) && users.has(60604) && !users.has(60605) && !users.has(0));
        for text in ["", "agent", "60600", "5-4", "0-9", "65530-65540", "1-4294967295", "a-b"] {
            assert!(Users::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_runner_of_a_state_folder_has_its_own_and_too_few_are_refused() {
        let users = Users::parse("100-105").unwrap();
        let ids = |place| users.of_runner(place, 2).map(|users| users.iter().map(|user| user.uid).collect());
        assert_eq!(ids(0), Ok(vec![100, 101, 102]));
        assert_eq!(ids(1), Ok(vec![103, 104, 105]));
        assert!(ids(2).unwrap_err().contains("name a wider range"));
        assert!(users.of_runner(1, 2).unwrap().iter().all(|user| user.gid == 100));
    }
}
