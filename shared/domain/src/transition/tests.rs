mod invariants;
mod table;

use uuid::Uuid;

use super::*;
use crate::breaker::Opening;
use crate::budget::{Amount, Exceeded, Purse, Scope, Unit};
use crate::{Account, Epoch, Incarnation, JobId, NodeId, Status};

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn exceeded() -> Exceeded {
    let purse = Purse { scope: Scope::Item, key: "shop/SHOP-1".to_owned() };
    Exceeded { purse, unit: Unit::Usd, spent: 5_100_000, limit: 5_000_000 }
}

fn offer(run: RunId) -> Offer {
    Offer {
        run,
        node: NodeId("node".to_owned()),
        incarnation: Incarnation(1),
        account: Account("default".to_owned()),
        opening: Opening::default(),
        probe: false,
        resume: None,
        aside: Amount::default(),
    }
}

fn job(state: JobState) -> Job {
    Job {
        id: JobId(1),
        project: "shop".to_owned(),
        work_item: "SHOP-1".to_owned(),
        stage: "review".to_owned(),
        role: "reviewer".to_owned(),
        priority: 0,
        budgets: Budgets::default(),
        epoch: Epoch(0),
        revision: 0,
        state,
        created_at: NOW,
        updated_at: NOW,
        trace_context: None,
        origin: crate::job::Origin::default(),
    }
}
