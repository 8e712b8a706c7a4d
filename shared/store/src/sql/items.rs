//! Work items: found by any of their names, written with the job they speak of, decided by a person.

use std::collections::{BTreeMap, BTreeSet};

use domain::alert::Notice;
use domain::delivery::{NewJob, Payload};
use domain::work_item::{ItemChange, WorkItem, head_family, head_key, joining};

use super::argument::{Rows, cells};
use super::connection::{Connection, Query, Row, fetch_together, query, statement};
use super::fault::Fault;
use super::rows::{self, JsonRows, get, json};
use super::{SqlStore, accept, outbox, spending, views};
use crate::intake::{Item, ItemKey, Known, Waiting, names_of};
use crate::{Applied, Audit, Error, ItemFilter};

/// Asks for the work items that the jobs of `items` belong to, where they name any.
pub(super) fn lookup<'a>(items: &[Item<'_>]) -> Result<Option<Query<'a>>, Fault> {
    let names: BTreeSet<ItemKey> = items.iter().flat_map(Item::jobs).flat_map(names_of).collect();
    rows_of(names.iter(), query!("items_lookup"))
}

/// Takes what `lookup` found, and reads what else is known of these items.
pub(super) async fn take_found<'a>(
    conn: &mut Connection<'_>,
    items: &[Item<'a>],
    found: &[Row],
) -> Result<Known<'a>, Fault> {
    let mut known = Known::default();
    for row in found {
        let (project, name): (String, String) = (get(row, "project")?, get(row, "name")?);
        let key: String = get(row, "canonical")?;
        if get::<Option<&str>>(row, "key")?.is_some() {
            known.items.insert((project.clone(), key.clone()), rows::work_item(row)?);
        }
        if key != name {
            known.aliases.insert((project, name), key);
        }
    }
    let asked = [waiting(items, &known)?, running(items, &known)?, unfinished(items, &known)?];
    let [waiting, running, unfinished] = fetch_together(asked, conn).await?;
    for row in &waiting {
        let job = rows::queued_job(row)?;
        let payload: Payload = json("payload", get(row, "payload")?)?;
        let place = ((job.project.clone(), job.work_item.clone()), job.stage.clone());
        known.waiting.insert(place, Waiting { job, results: payload.results });
    }
    for (rows, jobs) in [(&running, &mut known.running), (&unfinished, &mut known.unfinished)] {
        for row in rows {
            let job = rows::job(row)?;
            let place = ((job.project.clone(), job.work_item.clone()), job.stage.clone());
            jobs.entry(place).or_default().push(job);
        }
    }
    Ok(known)
}

/// Asks for the queued jobs whose place those of `items` take.
fn waiting<'a>(items: &[Item<'_>], known: &Known<'_>) -> Result<Option<Query<'a>>, Fault> {
    let mut asked = BTreeSet::new();
    for (job, project, key) in named(items, known).filter(|(job, ..)| job.about.replaces_older) {
        let start = head_key(&project, &key, &job.stage, "");
        asked.insert((project, key, job.stage.clone(), start));
    }
    rows_of(asked.iter(), query!("items_waiting"))
}

/// Asks for the running jobs that a newer commit may make worthless.
fn running<'a>(items: &[Item<'_>], known: &Known<'_>) -> Result<Option<Query<'a>>, Fault> {
    let older = named(items, known).filter(|(job, ..)| job.about.cancels_older);
    let asked: BTreeSet<_> = older.map(|(job, project, key)| (project, key, job.stage.clone())).collect();
    rows_of(asked.iter(), query!("items_running"))
}

/// Asks for the jobs under way that others may join.
fn unfinished<'a>(items: &[Item<'_>], known: &Known<'_>) -> Result<Option<Query<'a>>, Fault> {
    let mut asked = BTreeSet::new();
    for (job, project, key) in named(items, known).filter(|(job, ..)| joining::is_of_commit(job)) {
        let family = head_family(&project);
        asked.insert((project, key, job.stage.clone(), family));
    }
    rows_of(asked.iter(), query!("items_unfinished"))
}

/// The jobs of `items`, each with the work items that it may belong to.
fn named<'i>(
    items: &'i [Item<'_>],
    known: &'i Known<'_>,
) -> impl Iterator<Item = (&'i NewJob, String, String)> {
    items.iter().flat_map(Item::jobs).flat_map(move |job| {
        names_of(job).map(move |(project, name)| {
            let key = known.aliases.get(&(project.clone(), name.clone())).cloned().unwrap_or(name);
            (job, project, key)
        })
    })
}

/// The query with these rows; none without rows.
fn rows_of(
    rows: impl Iterator<Item = impl serde::Serialize>,
    query: Query<'_>,
) -> Result<Option<Query<'_>>, Fault> {
    let mut asked = JsonRows::new();
    for row in rows {
        asked.push(&row)?;
    }
    if asked.is_empty() { Ok(None) } else { Ok(Some(query.bind(asked.into_text()?))) }
}

/// Writes items as they are now.
pub(super) async fn save(
    conn: &mut Connection<'_>,
    items: impl Iterator<Item = &WorkItem>,
) -> Result<(), Fault> {
    let mut rows = Rows::new();
    for item in items {
        rows.push(cells![
            &item.project,
            &item.key,
            &item.title,
            &item.stage,
            item.state.as_str(),
            item.state.needs().map(rows::text_of).transpose()?,
            &item.head,
            rows::text_of(&item.bounces)?,
            item.hops,
            item.created_at,
            item.updated_at,
            item.state.waits_for_ci().map(rows::text_of).transpose()?,
            item.standing.as_str(),
            &item.ended_because,
            &item.chain,
        ]);
    }
    statement!("items_save").execute_each_later(rows, conn).await?;
    Ok(())
}

/// Writes new names of items.
pub(super) async fn save_aliases(
    conn: &mut Connection<'_>,
    aliases: &BTreeMap<ItemKey, String>,
) -> Result<(), Fault> {
    let mut rows = Rows::new();
    for ((project, alias), key) in aliases {
        rows.push(cells![project, alias, key]);
    }
    statement!("items_alias").execute_each_later(rows, conn).await?;
    Ok(())
}

/// Says which of `changes` still find their item as they expect it, in their order.
pub(super) async fn guard(conn: &mut Connection<'_>, changes: &[&ItemChange]) -> Result<Vec<bool>, Fault> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked = JsonRows::new();
    for change in changes {
        asked.push(&(&change.after.project, &change.after.key))?;
    }
    let query = query!("items_revisions").bind(asked.into_text()?);
    let mut revisions: BTreeMap<ItemKey, i64> = BTreeMap::new();
    for row in query.fetch_all(conn).await? {
        revisions.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
    }
    let found = |change: &&ItemChange| {
        revisions.get(&(change.after.project.clone(), change.after.key.clone())) == Some(&change.expected)
    };
    Ok(changes.iter().map(found).collect())
}

/// Writes item changes that met their guard, and the jobs that follow.
pub(super) async fn write(conn: &mut Connection<'_>, changes: &[&ItemChange]) -> Result<(), Fault> {
    save(conn, changes.iter().map(|change| &change.after)).await?;
    save_aliases(conn, &aliases_of(changes)).await?;
    spending::mark_passes(conn, changes).await?;
    let next: Vec<Item<'_>> = changes
        .iter()
        .filter_map(|change| change.next.as_deref().map(|job| Item::Job(job, change.after.updated_at)))
        .collect();
    if !next.is_empty() {
        accept::accept(conn, &next).await?;
    }
    Ok(())
}

fn aliases_of(changes: &[&ItemChange]) -> BTreeMap<ItemKey, String> {
    let named = |change: &ItemChange| {
        let after = &change.after;
        let others = change.aliases.iter().filter(|alias| **alias != after.key);
        others.map(|alias| ((after.project.clone(), alias.clone()), after.key.clone())).collect::<Vec<_>>()
    };
    changes.iter().flat_map(|change| named(change)).collect()
}

/// Writes a person's decision with its audit, if the item is still as it was decided on.
pub(super) async fn decide(
    conn: &mut Connection<'_>,
    change: &ItemChange,
    audit: &Audit,
) -> Result<Applied, Fault> {
    if guard(conn, &[change]).await? != [true] {
        return Ok(Applied::Conflict);
    }
    write(conn, &[change]).await?;
    let notice = change.alert.clone().map(|alert| Notice::new(alert, audit.at));
    outbox::push(conn, notice.as_slice()).await?;
    let item = (change.after.project.as_str(), change.after.key.as_str());
    views::save_act(conn, &audit.act(item.1, Some(item))).await?;
    let posts: Vec<_> = audit.posts.iter().map(|post| (post, audit.at)).collect();
    outbox::post(conn, &posts).await?;
    Ok(Applied::Done)
}

impl SqlStore {
    pub(super) async fn read_work_items(&self, filter: &ItemFilter) -> Result<Vec<WorkItem>, Error> {
        let query = match filter.key {
            None => query!("items"),
            Some(_) => query!("items_of_key"),
        };
        let mut query = query.bind(&filter.project).bind(&filter.state).bind(filter.limit);
        if let Some(key) = &filter.key {
            query = query.bind(key);
        }
        self.fetch_all(query).await?.iter().map(rows::work_item).collect()
    }
}
