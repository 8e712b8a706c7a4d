//! The protocol holds further out: more crashes, epochs and renews at once. Takes minutes; `./dev model` runs it.

mod explore;

use explore::{ADOPTED, faithful, hold};
use model::{Fault, Protocol};

#[test]
fn the_protocol_holds_further_out() {
    use Fault::{Runner, Scheduler};
    hold("crashes of scheduler and runner", &faithful(2, 2, 1, &[Scheduler, Runner]), &[]);
    let at_work = Protocol { at_work: true, ..faithful(2, 2, 2, &[Scheduler]) };
    hold("an agent at work, two renews, a crash of the scheduler", &at_work, &[ADOPTED]);
    hold("three epochs, a renew", &faithful(3, 3, 1, &[]), &[ADOPTED]);
    hold("three epochs, a crash of a runner", &faithful(3, 3, 0, &[Runner]), &[]);
}
