//! What became of the kills, by process and step.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::play::Played;
use super::point::{Moment, Point, Victim};

/// Outcomes of all kills so far.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<(Victim, String), Row>,
    waits: BTreeMap<Victim, Vec<(Duration, String)>>,
    failures: Vec<(Point, String)>,
}

#[derive(Debug, Default)]
struct Row {
    before: usize,
    torn: usize,
    after: usize,
    missed: usize,
    lost: u64,
    failed: usize,
}

impl Table {
    pub(super) fn note(&mut self, point: Point, played: anyhow::Result<Played>) {
        let row = self.rows.entry((point.victim, point.step.clone())).or_default();
        match played {
            Err(error) => {
                row.failed += 1;
                self.failures.push((point, format!("{error:#}")));
            }
            Ok(Played { landed: false, .. }) => row.missed += 1,
            Ok(Played { lost, to_dispatch, .. }) => {
                match point.moment {
                    Moment::Before => row.before += 1,
                    Moment::Torn => row.torn += 1,
                    Moment::After => row.after += 1,
                }
                row.lost += lost;
                let wait = to_dispatch.map(|wait| (wait, point.to_string()));
                self.waits.entry(point.victim).or_default().extend(wait);
            }
        }
    }

    /// How many processes were killed where they should be, with everything well after it.
    pub fn kills(&self) -> usize {
        self.rows.values().map(|row| row.before + row.torn + row.after).sum()
    }

    /// How many points were not come by this time.
    pub fn missed(&self) -> usize {
        self.rows.values().map(|row| row.missed).sum()
    }

    /// The points after which something was wrong, and what.
    pub fn failures(&self) -> &[(Point, String)] {
        &self.failures
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| process | step | before | torn | after | not reached | runs lost | wrong |")?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for ((victim, step), row) in &self.rows {
            let Row { before, torn, after, missed, lost, failed } = row;
            let program = victim.program();
            writeln!(
                out,
                "| {program} | {step} | {before} | {torn} | {after} | {missed} | {lost} | {failed} |"
            )?;
        }
        writeln!(
            out,
            "\n{} kills, {} points not reached, {} wrong",
            self.kills(),
            self.missed(),
            self.failures.len()
        )?;
        for (victim, waits) in &self.waits {
            let mut waits = waits.clone();
            waits.sort_unstable();
            let at =
                |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
            if let (Some((middle, _)), Some((p99, _)), Some((most, point))) = (at(50), at(99), waits.last()) {
                writeln!(
                    out,
                    "{}: from its start after the kill to the next agent p50 {middle:.1?}, p99 {p99:.1?}, max {most:.1?} \
                     ({} kills with an agent still to come; slowest {point})",
                    victim.program(),
                    waits.len()
                )?;
            }
        }
        for (point, error) in &self.failures {
            writeln!(out, "\n{point}:\n{error}")?;
        }
        Ok(())
    }
}
