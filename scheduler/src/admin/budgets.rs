//! Budgets: shown, and raised by a person.

use std::collections::BTreeMap;

use domain::budget::{Amount, Limit, Purse, Scope, Spending, Terms, day_of, micros};
use domain::work_item::WorkItem;
use domain::{JobId, text};
use proto::convert;
use proto::v1::{self, ListBudgetsReply, RaiseBudgetReply, RaiseBudgetRequest};
use store::{Actor, Audit};
use tonic::Status;

use crate::grpc::unavailable;
use crate::shared::Shared;

/// The longest key and note taken, in bytes.
const KEY_BYTES_MAX: usize = 500;

/// The budgets of all projects and of the day, those that are limited and those that were spent of.
pub(super) async fn list(shared: &Shared) -> Result<ListBudgetsReply, Status> {
    let pipeline = shared.pipeline.get();
    let (terms, day) = (pipeline.budget_terms(), day_of(shared.now()));
    let mut purses = vec![Purse { scope: Scope::Day, key: day.clone() }];
    for project in &pipeline.projects {
        purses.push(Purse { scope: Scope::ProjectDay, key: format!("{day}/{}", project.name) });
        purses.push(Purse { scope: Scope::Project, key: project.name.clone() });
    }
    let kept = read(shared, purses.clone()).await?;
    Ok(ListBudgetsReply { budgets: show(&purses, &kept, &terms) })
}

fn show(purses: &[Purse], kept: &BTreeMap<Purse, Spending>, terms: &Terms) -> Vec<v1::Budget> {
    let shown =
        purses.iter().map(|purse| (purse, kept.get(purse).copied().unwrap_or_default(), limit(purse, terms)));
    shown
        .filter(|(_, kept, limit)| !limit.is_open() || *kept != Spending::default())
        .map(|(purse, kept, limit)| convert::budget(purse, &kept, limit))
        .collect()
}

/// The limit that a purse has by its own name; the project of a job or chain is not in it.
fn limit(purse: &Purse, terms: &Terms) -> Limit {
    let project = match purse.scope {
        Scope::Day => return terms.day,
        Scope::Project => purse.key.as_str(),
        Scope::ProjectDay => purse.key.split_once('/').map_or("", |(_, project)| project),
        Scope::Item => {
            let of = terms.projects.keys().filter(|name| purse.key.starts_with(&format!("{name}/")));
            return of
                .max_by_key(|name| name.len())
                .map(|name| terms.limit(name, purse.scope))
                .unwrap_or_default();
        }
        Scope::Job | Scope::Chain => return Limit::default(),
    };
    terms.limit(project, purse.scope)
}

/// The budgets that a job's runs are counted in.
pub(super) async fn of_job(shared: &Shared, id: JobId) -> Result<Vec<v1::Budget>, Status> {
    let job = shared.store.job(id).await.map_err(|error| unavailable(&error))?;
    let Some(job) = job else { return Ok(Vec::new()) };
    let (terms, day) = (shared.pipeline.get().budget_terms(), day_of(shared.now()));
    let purses: Vec<Purse> = Scope::ALL.iter().map(|scope| job.payer().purse(*scope, &day)).collect();
    let kept = read(shared, purses.clone()).await?;
    let show = |purse: &Purse| {
        let limit = terms.limit(&job.project, purse.scope);
        convert::budget(purse, &kept.get(purse).copied().unwrap_or_default(), limit)
    };
    Ok(purses.iter().map(show).collect())
}

/// Work items with what was spent on them.
pub(super) async fn with_spent(shared: &Shared, items: &[WorkItem]) -> Result<Vec<v1::WorkItem>, Status> {
    let kept = read(shared, items.iter().map(WorkItem::purse).collect()).await?;
    let show = |item: &WorkItem| {
        let kept = kept.get(&item.purse()).copied().unwrap_or_default();
        v1::WorkItem {
            spent: Some(convert::spent(kept.spent)),
            spent_since_pass: Some(convert::spent(kept.spent.minus(kept.at_last_pass))),
            ..convert::work_item(item)
        }
    };
    Ok(items.iter().map(show).collect())
}

/// Gives a budget more than `orch.toml` says.
pub(super) async fn raise(
    shared: &Shared,
    actor: Actor,
    request: RaiseBudgetRequest,
) -> Result<RaiseBudgetReply, Status> {
    let scope = Scope::parse(&request.scope).ok_or_else(|| {
        let known = Scope::ALL.map(Scope::as_str).join(", ");
        Status::invalid_argument(format!("unknown budget {}: it is one of {known}", request.scope))
    })?;
    let key = text::clean(request.key.trim(), KEY_BYTES_MAX);
    if key.is_empty() {
        return Err(Status::invalid_argument("say which one: a job's id, project/key of a work item, a day"));
    }
    let usd = request.usd.unwrap_or(0.0);
    let more = Amount {
        usd_micros: if usd < 0.0 { -micros(-usd) } else { micros(usd) },
        tokens: request.tokens.unwrap_or(0),
        runs: request.runs.unwrap_or(0),
    };
    if more.is_zero() {
        return Err(Status::invalid_argument("say by how much: --usd, --tokens or --runs"));
    }
    let cleaned = |text: Option<String>| {
        text.map(|text| text::clean(text.trim(), KEY_BYTES_MAX)).filter(|text| !text.is_empty())
    };
    let (by, note) = (cleaned(request.by).unwrap_or(actor.by), cleaned(request.note));
    let purse = Purse { scope, key };
    let said = format!("{} {} by {:?}", scope.as_str(), purse.key, more);
    let note = Some(note.map_or_else(|| said.clone(), |note| format!("{said}: {note}")));
    let actor = Actor { by: by.clone(), ..actor };
    let audit = Audit { at: shared.now(), actor, verb: "raise", note, posts: Vec::new() };
    shared.store.raise_budget(purse.clone(), more, audit).await.map_err(|error| unavailable(&error))?;
    tracing::info!(budget = said, by, "a person raised a budget");
    shared.wake();
    let kept = read(shared, vec![purse.clone()]).await?;
    let limit = match scope {
        Scope::Job => match purse.key.parse().ok() {
            Some(id) => of_job(shared, JobId(id)).await?.into_iter().next(),
            None => None,
        },
        Scope::Item | Scope::Chain | Scope::Project | Scope::ProjectDay | Scope::Day => None,
    };
    let shown = || {
        let terms = shared.pipeline.get().budget_terms();
        convert::budget(&purse, &kept.get(&purse).copied().unwrap_or_default(), self::limit(&purse, &terms))
    };
    Ok(RaiseBudgetReply { budget: Some(limit.unwrap_or_else(shown)) })
}

async fn read(shared: &Shared, purses: Vec<Purse>) -> Result<BTreeMap<Purse, Spending>, Status> {
    shared.store.spendings(purses).await.map_err(|error| unavailable(&error))
}
