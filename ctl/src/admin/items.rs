//! `orch items`, `orch approve`, `orch reject`.

use clap::Args;
use domain::Timestamp;
use domain::work_item::ItemState;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::{Cell, Output, Paint, plain, table, when};

/// Which work items `orch items` shows.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct List {
    /// Only of this state
    #[arg(long, short, value_parser = ItemState::WORDS)]
    state: Option<String>,
    /// Only of this project
    #[arg(long, short)]
    project: Option<String>,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// A person's word on a work item.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct Decide {
    /// Work item, such as SHOP-12
    item: String,
    /// Project, where several have the item
    #[arg(long, short)]
    project: Option<String>,
    /// Told to the stage that follows
    #[arg(long, short, value_name = "TEXT")]
    note: Option<String>,
    /// Who says so, for the audit
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
}

/// `orch items`.
pub(crate) async fn list(
    access: &SchedulerAccess,
    list: List,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let admin = access.open()?;
    let request = v1::ListItemsRequest { state: list.state, project: list.project, limit: list.limit };
    let reply = admin.ask(admin.client().list_items(request)).await?;
    output.show(&reply, |paint| item_table(&reply.items, paint, now))
}

/// `orch approve ITEM`.
pub(crate) async fn approve(access: &SchedulerAccess, decide: Decide, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().approve_item(v1::DecideItemRequest::from(decide))).await?;
    output.show(&reply, |_| decided("approved", &reply))
}

/// `orch reject ITEM`.
pub(crate) async fn reject(access: &SchedulerAccess, decide: Decide, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().reject_item(v1::DecideItemRequest::from(decide))).await?;
    output.show(&reply, |_| decided("rejected", &reply))
}

impl From<Decide> for v1::DecideItemRequest {
    fn from(decide: Decide) -> Self {
        Self { item: decide.item, project: decide.project, note: decide.note, by: decide.by }
    }
}

fn decided(word: &str, reply: &v1::ItemReply) -> String {
    let item = reply.item.clone().unwrap_or_default();
    let now = match item.state.as_str() {
        "active" => format!("it is at {} now", item.stage),
        "needs_you" => item.needs.map(|needs| needs.reason).unwrap_or_default(),
        state => format!("it is {state}"),
    };
    plain(&format!("{} is {word}: {now}", item.key)) + "\n"
}

fn item_table(items: &[v1::WorkItem], paint: Paint, now: Timestamp) -> String {
    let rows = items.iter().map(|item| {
        let bounces = item.bounces.iter().map(|bounce| format!("{} {}", bounce.stage, bounce.times));
        let note = item.needs.as_ref().map(|needs| needs.reason.clone());
        let note = note.or_else(|| item.waits_for.clone()).or_else(|| item.ended_because.clone());
        let note = note.or_else(|| item.title.clone());
        vec![
            Cell::from(&item.key),
            Cell::from(&item.project),
            paint.state(&item.state),
            Cell::from(&item.stage),
            Cell::from(bounces.collect::<Vec<_>>().join(", ")),
            Cell::from(when(&item.updated_at, now)),
            Cell::from(spent(item)),
            Cell::from(note.unwrap_or_default()),
        ]
    });
    let head = ["WORK ITEM", "PROJECT", "STATE", "STAGE", "SENT BACK BY", "CHANGED", "SPENT", "NOTE"];
    table(&head, rows.collect(), "no work items")
}

/// What an item cost, and of that since its last pass.
fn spent(item: &v1::WorkItem) -> String {
    let Some(spent) = &item.spent else { return String::new() };
    let since = item.spent_since_pass.unwrap_or_default();
    format!("${:.2} (${:.2} since its last pass)", spent.usd, since.usd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_needs_a_person_says_what_for() {
        let item = v1::WorkItem {
            project: "shop".to_owned(),
            key: "SHOP-1".to_owned(),
            title: Some("Fix the till".to_owned()),
            stage: "review".to_owned(),
            state: "needs_you".to_owned(),
            bounces: vec![v1::Bounces { stage: "review".to_owned(), times: 2 }],
            needs: Some(v1::Needs {
                reason: "review passed\u{7}: approve it".to_owned(),
                ..v1::Needs::default()
            }),
            updated_at: "1970-01-01T00:00:00Z".to_owned(),
            spent: Some(v1::Spent { usd: 1.5, tokens: 9, runs: 2 }),
            spent_since_pass: Some(v1::Spent { usd: 0.25, tokens: 3, runs: 1 }),
            ..v1::WorkItem::default()
        };
        assert_eq!(
            item_table(std::slice::from_ref(&item), Paint::default(), Timestamp::from_ms(5_000)),
            "WORK ITEM  PROJECT  STATE      STAGE   SENT BACK BY  CHANGED  SPENT                              NOTE\n\
             SHOP-1     shop     needs_you  review  review 2      5s ago   $1.50 ($0.25 since its last pass)  review passed : approve it\n"
        );
        let reply = v1::ItemReply { item: Some(v1::WorkItem { state: "active".to_owned(), ..item }) };
        assert_eq!(decided("approved", &reply), "SHOP-1 is approved: it is at review now\n");
    }
}
