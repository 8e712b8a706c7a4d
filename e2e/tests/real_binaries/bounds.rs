//! Output without bounds, and nobody who reads it.

use e2e::bounds::{Away, Size, play};

#[tokio::test]
async fn fifty_agents_and_a_gibibyte_outlive_a_stopped_scheduler_in_bounded_memory() -> anyhow::Result<()> {
    eprintln!("{}", play(Size::SHORT).await?);
    Ok(())
}

#[tokio::test]
async fn and_one_that_was_killed() -> anyhow::Result<()> {
    let away = std::time::Duration::from_secs(4);
    let size = Size { agents: 4, flood_bytes: 160 << 20, away, how: Away::Killed, ..Size::SHORT };
    eprintln!("{}", play(size).await?);
    Ok(())
}
