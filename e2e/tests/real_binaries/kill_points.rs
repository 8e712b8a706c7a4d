//! SIGKILL at a sample of all the points that there are; `./dev kills` plays more of them, or all.

use e2e::kill_points::{Kills, spread};

const POINTS: usize = 40;
const LANES: usize = 4;

#[tokio::test]
async fn every_promise_holds_wherever_a_kill_falls() -> anyhow::Result<()> {
    let kills = Kills::prepare()?;
    let points = kills.points(LANES).await?;
    assert!(points.len() > 1_000, "only {} points were found", points.len());
    let table = kills.run(spread(points, POINTS), LANES).await?;
    assert_eq!(table.failures().len(), 0, "{table}");
    assert_eq!(table.kills() + table.missed(), POINTS, "{table}");
    assert!(table.kills() >= POINTS * 3 / 4, "{table}");
    Ok(())
}
