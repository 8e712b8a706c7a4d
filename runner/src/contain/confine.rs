//! What the last step before the agent does to itself, in the order of the tiers; all of it holds for whatever the agent
//! starts, and nothing of it can be undone from within.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use domain::containment::{Destination, Tier};
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
    set_thread_groups,
};
use serde::{Deserialize, Serialize};

use super::control::{self, Controller};
use super::seal;
use super::view::{SCRATCH, View};
use super::{Bounds, User};

/// The version of Landlock that keeps signals and abstract sockets in, of Linux 6.12.
const LANDLOCK: ABI = ABI::V6;

/// The folder for the tree of a sealed agent, in that for all trees.
pub(crate) const TREE: &str = "tree";

/// How a run is contained, from tier `limits` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// How far.
    pub tier: Tier,
    /// What it may take.
    pub bounds: Bounds,
    /// The run's folders of the controllers that keep to that.
    pub controls: Vec<Controller>,
    /// What it sees, from tier `sandbox` on.
    pub view: View,
    /// Where it gets to, in tier `sealed`.
    pub egress: Vec<Destination>,
}

/// Confines the calling process, which becomes `user` if there is one. `trees` is a folder for the tree of a sealed agent,
/// `way_out` leads to its shim.
pub(crate) fn confine(
    confinement: Option<&Confinement>,
    user: Option<User>,
    trees: &Path,
    work: &Path,
    way_out: Option<UnixStream>,
) -> io::Result<()> {
    let tier = confinement.map_or(Tier::Environment, |confinement| confinement.tier);
    let named =
        |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    if let Some(confinement) = confinement {
        for control in &confinement.controls {
            control.join().map_err(named("cgroup"))?;
        }
        limit(confinement, user).map_err(named("limits"))?;
    }
    if way_out.is_some() {
        // The way there is not everybody's.
        std::env::set_current_dir(trees).map_err(named("its own tree"))?;
    }
    match user {
        Some(user) => user.enter().map_err(named("its own user"))?,
        None if tier >= Tier::Sandbox && geteuid().is_root() => set_thread_groups(&[])?,
        None => {}
    }
    if let (Some(way_out), Some(confinement)) = (way_out, confinement) {
        seal::leave_host(&way_out)
            .map_err(named("namespaces (are user namespaces allowed to this user?)"))?;
        seal::enter_tree(&confinement.view, Path::new(TREE), work).map_err(named("its own tree"))?;
    }
    if user.is_some() || tier >= Tier::Sandbox {
        drop_privileges().map_err(named("privileges"))?;
    }
    match confinement.filter(|_| tier >= Tier::Sandbox) {
        Some(confinement) => restrict(&confinement.view, tier).map_err(named("landlock")),
        None => Ok(()),
    }
}

/// Bounds of each process. Those of all of them together are the controllers'; where there is none, a user of its own has as many
/// processes as it may, and each of them the memory that all should have together.
fn limit(confinement: &Confinement, user: Option<User>) -> io::Result<()> {
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let bounds = &confinement.bounds;
    setrlimit(Resource::Fsize, both(bounds.disk_bytes))?;
    setrlimit(Resource::Core, both(0))?;
    let is_controlled = |resource| confinement.controls.iter().any(|control| control.resource == resource);
    if user.is_some() && !is_controlled(control::Resource::Memory) {
        // Not its address space, of which today's programs reserve far more than they use.
        setrlimit(Resource::Data, both(bounds.memory_bytes))?;
    }
    if user.is_some() && !is_controlled(control::Resource::Pids) {
        setrlimit(Resource::Nproc, both(u64::from(bounds.pids)))?;
    }
    Ok(())
}

/// Gives up every capability for good: with no new privileges, not even a program of root's has any again.
fn drop_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

fn restrict(view: &View, tier: Tier) -> io::Result<()> {
    let scratch: Vec<PathBuf> = SCRATCH.iter().filter(|_| tier == Tier::Sealed).map(PathBuf::from).collect();
    let there =
        |paths: &[PathBuf]| -> Vec<PathBuf> { paths.iter().filter(|path| path.exists()).cloned().collect() };
    let (read, write) = (there(&view.read), [there(&view.write), scratch].concat());
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&read, AccessFs::from_read(LANDLOCK))))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&write, AccessFs::from_all(LANDLOCK))))
        .and_then(RulesetCreated::restrict_self);
    ruleset
        .map(|_| ())
        .map_err(|error| io::Error::other(format!("{error} (Linux 6.12 or newer has what is needed)")))
}
