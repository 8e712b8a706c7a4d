//! How often runs were renewed, in a narrow table of its own.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::{Epoch, NodeId, RunId};

use super::connection::{Connection, Row, query};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{get, run_id, text_of};
use super::{SqlStore, mismatch};
use crate::renewals::Renewals;
use crate::{Change, Error};

#[async_trait]
impl Renewals for SqlStore {
    async fn renew(&self, node: NodeId, held: Vec<(RunId, Epoch)>) -> Result<BTreeSet<RunId>, Error> {
        let answer = self.ask(Request::Renew(node, held)).await?;
        if let Answer::Renewed(runs) = answer { Ok(runs) } else { Err(mismatch(&answer)) }
    }

    async fn renewals(&self) -> Result<BTreeMap<RunId, u64>, Error> {
        let query = query!("leases");
        self.fetch_all(query).await?.iter().map(count).collect()
    }
}

/// Counts a renewal of the node's live runs among `held`; says which they are.
pub(super) async fn renew(
    conn: &mut Connection<'_>,
    node: &NodeId,
    held: &[(RunId, Epoch)],
) -> Result<BTreeSet<RunId>, Fault> {
    let query = query!("leases_renew").bind(&node.0).bind(text_of(&held)?);
    let rows = query.fetch_all(conn).await?;
    Ok(rows.iter().map(|row| run_id(get(row, "run_id")?)).collect::<Result<_, Error>>()?)
}

/// Leaves out the changes whose run was renewed since they were decided on.
pub(super) async fn with_renewals_as_expected(
    conn: &mut Connection<'_>,
    changes: &[&Change],
    mut round: Vec<usize>,
) -> Result<Vec<usize>, Fault> {
    let guarded = |index: usize| {
        let change = changes[index];
        change.renewals.and_then(|renewals| Some((change.transition.expected.run?, renewals)))
    };
    let runs: Vec<RunId> = round.iter().filter_map(|&index| guarded(index)).map(|(run, _)| run).collect();
    if runs.is_empty() {
        return Ok(round);
    }
    let asked = text_of(&runs)?;
    query!("leases_hold").bind(&asked).fetch_all(conn).await?;
    let query = query!("leases_of").bind(asked);
    let rows = query.fetch_all(conn).await?;
    let counts = rows.iter().map(count).collect::<Result<BTreeMap<_, _>, Error>>()?;
    round.retain(|&index| {
        guarded(index).is_none_or(|(run, renewals)| counts.get(&run).copied().unwrap_or(0) == renewals)
    });
    Ok(round)
}

fn count(row: &Row) -> Result<(RunId, u64), Error> {
    let renewals: i64 = get(row, "renewals")?;
    Ok((run_id(get(row, "run_id")?)?, renewals.unsigned_abs()))
}
