//! A night of forty work items through all six stages of the built-in pipeline, with the gate `ci` besides, while every part is killed again and again:
//! every item ends where its script says, and each advance happened once.

use e2e::night::{Night, Plan};

/// How many times a part is killed.
const BLOWS: usize = 18;

#[tokio::test]
async fn forty_items_come_through_a_night_of_kills_each_to_its_own_end() -> anyhow::Result<()> {
    Night::begin(Plan::draw(20_261_122, BLOWS)).await?.see_through().await
}
