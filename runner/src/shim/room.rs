//! What the containment of an agent needs before there is one, and what of it is left when there was none.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, lchown};

use domain::containment::Tier;

use super::agent::scratch;
use super::egress::WayOut;
use crate::contain::{Controller, TREE};
use crate::files;
use crate::run_dir::{Intent, RunDir};

/// Bounds the run's cgroups, makes its folders, and waits with the way out of a sealed agent's network.
pub(super) fn make(dir: &RunDir, intent: &Intent) -> io::Result<()> {
    let Some(confinement) = &intent.confinement else { return Ok(()) };
    for controller in &confinement.controls {
        controller.bound(&confinement.bounds)?;
    }
    if confinement.tier >= Tier::Sandbox {
        let scratch = scratch(&intent.home);
        files::create_private_dir(&scratch)?;
        if let (Some(user), false) = (intent.user, scratch.is_symlink()) {
            lchown(&scratch, Some(user.uid), Some(user.gid))?;
        }
    }
    if confinement.tier >= Tier::Sealed {
        // Entered by a user who sees nothing else of the run's folder.
        let trees = dir.trees();
        files::create_private_dir(&trees.join(TREE))?;
        fs::set_permissions(&trees, fs::Permissions::from_mode(0o711))?;
        WayOut::bind(dir)?.serve(confinement.egress.clone());
    }
    Ok(())
}

/// Gives back what a run without an agent had.
pub(super) fn give_back(intent: &Intent) {
    controllers(intent).iter().for_each(Controller::remove);
}

/// The run's folders of the controllers.
pub(super) fn controllers(intent: &Intent) -> &[Controller] {
    intent.confinement.as_ref().map_or(&[], |confinement| confinement.controls.as_slice())
}
