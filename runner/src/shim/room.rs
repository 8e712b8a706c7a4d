//! What the containment of an agent needs before there is one, and what of it is left when there was none.

use std::io;

use domain::containment::Tier;

use super::agent::scratch;
use super::egress::WayOut;
use crate::contain::Controller;
use crate::files;
use crate::run_dir::{Intent, RunDir};

/// Bounds the run's cgroups, makes its folders, and waits with the way out of a sealed agent's network.
pub(super) fn make(dir: &RunDir, intent: &Intent) -> io::Result<()> {
    let Some(confinement) = &intent.confinement else { return Ok(()) };
    for controller in &confinement.controls {
        controller.bound(&confinement.bounds)?;
    }
    if confinement.tier >= Tier::Sandbox {
        files::create_private_dir(&scratch(&intent.home))?;
    }
    if confinement.tier >= Tier::Sealed {
        files::create_private_dir(&dir.tree())?;
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
