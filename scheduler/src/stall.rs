//! The guard against our own stall: many leases of many nodes do not run out in the same tick by chance.
//!
//! Pure. The runs are spared for one more lease, once, and then given up like any other: nobody is waited for.

use std::collections::BTreeSet;

use domain::NodeId;

/// This many nodes at once …
const NODES_MIN: usize = 3;
/// … with this many runs smell of our own stall (DESIGN.md section 7).
const RUNS_MIN: usize = 10;

/// Whether leases that run out in one tick say more of us than of the nodes; `nodes` names the node of each run.
pub(crate) fn smells_of_our_own_stall<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> bool {
    let (mut runs, mut distinct) = (0, BTreeSet::new());
    for node in nodes {
        runs += 1;
        distinct.insert(node);
    }
    runs >= RUNS_MIN && distinct.len() >= NODES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smells(runs_of_nodes: &[usize]) -> bool {
        let nodes: Vec<NodeId> = runs_of_nodes
            .iter()
            .enumerate()
            .flat_map(|(node, runs)| vec![NodeId(format!("n{node}")); *runs])
            .collect();
        smells_of_our_own_stall(nodes.iter())
    }

    #[test]
    fn it_takes_three_nodes_and_ten_runs() {
        for few in [&[][..], &[100], &[50, 50], &[3, 3, 3], &[1, 1, 1, 1, 1, 1, 1, 1, 1]] {
            assert!(!smells(few), "{few:?}");
        }
        for many in [&[4, 3, 3][..], &[8, 1, 1], &[1; 10]] {
            assert!(smells(many), "{many:?}");
        }
    }
}
