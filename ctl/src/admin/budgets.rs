//! `orch budget`: what was spent, what may be, and a person's word that it may be more.

use clap::{Args, Subcommand};
use domain::budget::Scope;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::{Cell, Output, plain, table};

/// What can be done about budgets.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Give a budget more than orch.toml says
    Raise(Raise),
}

/// By how much which budget is raised.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct Raise {
    /// What the budget counts
    #[arg(value_parser = Scope::ALL.map(Scope::as_str))]
    scope: String,
    /// Which one, as the message names it: a job's id, project/key of a work item, the cause of a chain, a day
    key: String,
    /// US dollars to add
    #[arg(long, allow_negative_numbers = true)]
    usd: Option<f64>,
    /// Tokens to add
    #[arg(long, allow_negative_numbers = true)]
    tokens: Option<i64>,
    /// Runs to add, of a chain
    #[arg(long, allow_negative_numbers = true)]
    runs: Option<i64>,
    /// Why, for the audit
    #[arg(long, short, value_name = "TEXT")]
    note: Option<String>,
    /// Who says so, for the audit
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
}

/// `orch budget`.
pub(crate) async fn list(access: &SchedulerAccess, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().list_budgets(v1::ListBudgetsRequest {})).await?;
    output.show(&reply, |_| budget_table(&reply.budgets))
}

/// `orch budget raise SCOPE KEY`.
pub(crate) async fn raise(access: &SchedulerAccess, raise: Raise, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let Raise { scope, key, usd, tokens, runs, note, by } = raise;
    let request = v1::RaiseBudgetRequest { scope, key, usd, tokens, runs, note, by };
    let reply = admin.ask(admin.client().raise_budget(request)).await?;
    output.show(&reply, |_| {
        let budget = reply.budget.clone().unwrap_or_default();
        plain(&format!("budget of {} {}: {}", budget.scope, budget.key, shown(&budget))) + "\n"
    })
}

/// Budgets as a table.
pub(crate) fn budget_table(budgets: &[v1::Budget]) -> String {
    let rows = budgets.iter().map(|budget| {
        let spent = budget.spent.unwrap_or_default();
        let of = |spent: String, limit: Option<String>| {
            Cell::from(limit.map_or_else(|| spent.clone(), |limit| format!("{spent} of {limit}")))
        };
        vec![
            Cell::from(budget.scope.replace('_', " ")),
            Cell::from(&budget.key),
            of(format!("{:.2}", spent.usd), budget.usd_limit.map(|usd| format!("{usd:.2}"))),
            of(spent.tokens.to_string(), budget.tokens_limit.map(|tokens| tokens.to_string())),
            of(spent.runs.to_string(), budget.runs_limit.map(|runs| runs.to_string())),
        ]
    });
    table(
        &["BUDGET", "OF", "USD", "TOKENS", "RUNS"],
        rows.collect(),
        "nothing was spent, and nothing is limited",
    )
}

/// What was spent, in a few words.
pub(crate) fn amount(spent: &v1::Spent) -> String {
    format!("${:.2}, {} tokens, {} runs", spent.usd, spent.tokens, spent.runs)
}

fn shown(budget: &v1::Budget) -> String {
    let limits = [
        budget.usd_limit.map(|usd| format!("${usd:.2}")),
        budget.tokens_limit.map(|tokens| format!("{tokens} tokens")),
        budget.runs_limit.map(|runs| format!("{runs} runs")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let of = if limits.is_empty() { String::new() } else { format!(" of {}", limits.join(", ")) };
    format!("{} spent{of}", amount(&budget.spent.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_shows_what_is_spent_of_what() {
        let budget = v1::Budget {
            scope: "item".to_owned(),
            key: "shop/SHOP-1".to_owned(),
            spent: Some(v1::Spent { usd: 5.1, tokens: 1200, runs: 3 }),
            usd_limit: Some(5.0),
            ..v1::Budget::default()
        };
        assert_eq!(
            budget_table(std::slice::from_ref(&budget)),
            "BUDGET  OF           USD           TOKENS  RUNS\n\
             item    shop/SHOP-1  5.10 of 5.00  1200    3\n"
        );
        assert_eq!(shown(&budget), "$5.10, 1200 tokens, 3 runs spent of $5.00");
    }
}
