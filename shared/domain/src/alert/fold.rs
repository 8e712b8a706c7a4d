//! Keeps a backlog short while nobody takes alerts: all of a group become one that says how many it stands for.

use std::collections::BTreeMap;

use super::{Folded, Group, Notice};

/// Rows of the outbox that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The row that stays, the newest.
    pub into: i64,
    /// What it says from now on.
    pub notice: Notice,
    /// The rows that go.
    pub from: Vec<i64>,
}

/// Folds each group of more than one into its newest; `rows` are ids with what they say, the oldest first.
///
/// No alert is lost: the counts of what comes out add up to those of what went in.
pub fn fold(rows: &[(i64, Notice)]) -> Vec<Fold> {
    let mut groups: BTreeMap<Group, Vec<&(i64, Notice)>> = BTreeMap::new();
    for row in rows {
        groups.entry(row.1.alert.group()).or_default().push(row);
    }
    groups.into_values().filter_map(|members| fold_group(&members)).collect()
}

fn fold_group(members: &[&(i64, Notice)]) -> Option<Fold> {
    let ((into, newest), older) = members.split_last()?;
    let oldest = older.first()?;
    let count = older.iter().map(|(_, notice)| notice.count()).sum::<u64>() + newest.count() - 1;
    let folded = Some(Folded { count, first_at: oldest.1.first_at() });
    Some(Fold {
        into: *into,
        notice: Notice { folded, ..newest.clone() },
        from: older.iter().map(|(id, _)| *id).collect(),
    })
}
