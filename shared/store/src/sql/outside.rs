//! Sightings and cursors: written with the delivery that tells of them, or by themselves.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::reconcile::Cursor;
use domain::sighting::{Seen, Sighting, Teller};
use domain::work_item::WorkItem;
use domain::{Job, Timestamp};

use super::argument::{Rows, cells};
use super::connection::{Connection, Query, Row, fetch_together, query, statement};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{self, JsonRows, json};
use super::{SqlStore, mismatch};
use crate::intake::{Intake, Known, SightingKey};
use crate::{Error, Outside};

/// What the writer may be asked of it.
#[derive(Debug)]
pub(crate) enum Ask {
    Note { project: String, sightings: Vec<Sighting>, teller: Teller, now: Timestamp },
    Prune { projects: Vec<String>, before: Timestamp, limit: u32 },
    SaveCursor { listing: String, project: String, cursor: Cursor },
}

/// Does what is asked, in the writer's transaction.
pub(super) async fn answer(conn: &mut Connection<'_>, ask: &Ask) -> Result<Answer, Fault> {
    match ask {
        Ask::Note { project, sightings, teller, now } => {
            let names = sightings.iter().map(|told| (project.clone(), told.name.clone()));
            let [rows] = fetch_together([lookup(names)?], conn).await?;
            let known = Known { sightings: found(&rows)?, ..Known::default() };
            let mut intake = Intake::new(known);
            for told in sightings {
                intake.note(project, told, *teller, *now);
            }
            save(conn, intake.sightings.values()).await?;
            Ok(Answer::Done)
        }
        Ask::Prune { projects, before, limit } => {
            let projects = rows::text_of(projects)?;
            let query = query!("sightings_prune").bind(projects.as_str()).bind(before.as_ms()).bind(*limit);
            let pruned = query.execute(conn).await?;
            query!("cursors_prune").bind(projects).execute(conn).await?;
            Ok(Answer::Pruned(pruned))
        }
        Ask::SaveCursor { listing, project, cursor } => {
            let query = query!("cursor_save").bind(listing).bind(project);
            query.bind(rows::text_of(cursor)?).execute(conn).await?;
            Ok(Answer::Done)
        }
    }
}

/// Asks for the sightings of these names, where there are any.
pub(super) fn lookup<'q>(names: impl Iterator<Item = SightingKey>) -> Result<Option<Query<'q>>, Fault> {
    let names: BTreeSet<SightingKey> = names.collect();
    if names.is_empty() {
        return Ok(None);
    }
    let mut asked = JsonRows::new();
    for (project, name) in &names {
        asked.push(&(project, &name.subject, &name.aspect))?;
    }
    Ok(Some(query!("sightings_lookup").bind(asked.into_text()?)))
}

/// What `lookup` found.
pub(super) fn found(rows: &[Row]) -> Result<BTreeMap<SightingKey, Seen>, Fault> {
    let mut known = BTreeMap::new();
    for row in rows {
        let seen = rows::seen(row)?;
        known.insert((seen.project.clone(), seen.sighting.name.clone()), seen);
    }
    Ok(known)
}

/// Writes sightings as they are now.
pub(super) async fn save(
    conn: &mut Connection<'_>,
    sightings: impl Iterator<Item = &Seen>,
) -> Result<(), Fault> {
    let mut saved = Rows::new();
    for seen in sightings {
        let told = &seen.sighting;
        saved.push(cells![
            &seen.project,
            &told.name.subject,
            String::from(told.name.aspect.clone()),
            &told.value,
            rows::text_of(&told.words)?,
            told.version,
            told.own,
            seen.teller.as_str(),
            seen.at,
        ]);
    }
    statement!("sightings_save").execute_each_later(saved, conn).await?;
    Ok(())
}

#[async_trait]
impl Outside for SqlStore {
    async fn note_sightings(
        &self,
        project: String,
        sightings: Vec<Sighting>,
        teller: Teller,
        now: Timestamp,
    ) -> Result<(), Error> {
        if sightings.is_empty() {
            return Ok(());
        }
        self.ask(Request::Outside(Ask::Note { project, sightings, teller, now })).await.map(|_| ())
    }

    async fn sightings(&self, project: &str, subjects: &[String]) -> Result<Vec<Seen>, Error> {
        let query = query!("sightings_of").bind(project);
        let query = query.bind(rows::text_of(&subjects)?);
        self.fetch_all(query).await?.iter().map(rows::seen).collect()
    }

    async fn cursor(&self, listing: &str, project: &str) -> Result<Option<Cursor>, Error> {
        let query = query!("cursor").bind(listing).bind(project);
        let row = self.fetch_optional(query).await?;
        row.map(|row| json("cursor", row.try_get(0)?)).transpose()
    }

    async fn save_cursor(&self, listing: String, project: String, cursor: Cursor) -> Result<(), Error> {
        self.ask(Request::Outside(Ask::SaveCursor { listing, project, cursor })).await.map(|_| ())
    }

    async fn prune_outside(
        &self,
        projects: Vec<String>,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        let answer = self.ask(Request::Outside(Ask::Prune { projects, before, limit })).await?;
        if let Answer::Pruned(rows) = answer { Ok(rows) } else { Err(mismatch(&answer)) }
    }

    async fn items_waiting_outside(&self, limit: u32) -> Result<Vec<WorkItem>, Error> {
        let query = query!("items_waiting_outside").bind(limit);
        self.fetch_all(query).await?.iter().map(rows::work_item).collect()
    }

    async fn open_items(&self, project: &str, after: &str, limit: u32) -> Result<Vec<WorkItem>, Error> {
        let query = query!("items_open").bind(project).bind(after).bind(limit);
        self.fetch_all(query).await?.iter().map(rows::work_item).collect()
    }

    async fn names_of(&self, project: &str, key: &str) -> Result<Vec<String>, Error> {
        let query = query!("items_names").bind(project).bind(key);
        self.fetch_all(query).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn unfinished_jobs_of(&self, project: &str, key: &str) -> Result<Vec<Job>, Error> {
        let query = query!("jobs_unfinished_of").bind(project).bind(key);
        self.fetch_all(query).await?.iter().map(rows::job).collect()
    }
}
