//! Serves the stub of the Messages API by itself, to try the real `claude` CLI by hand. Loopback only.

use std::io::Write;
use std::net::Ipv4Addr;

use clap::Parser;
use e2e::stub_api::{StubApi, parse_script};

/// A loopback stand-in for the Messages API with a script of faults.
///
/// A script is a comma-separated list of: ok, ok:TEXT, tool:COMMAND, 429, 429:SECONDS,
/// `429_unified:SECONDS`, `429_unified:SECONDS:CLAIM`, 529, 500, 401, `400_context`, hang, `hang_mid`, reset,
/// slow:SECONDS. Each request takes the next word, the last one repeats; + stands for a space.
/// While it runs, POST /stub/script replaces the script and GET /stub/requests shows what was asked.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How requests are answered.
    #[arg(long, default_value = "ok")]
    script: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let stub = StubApi::start((Ipv4Addr::LOCALHOST, arguments.port).into(), parse_script(&arguments.script)?)
        .await?;
    writeln!(std::io::stdout(), "ANTHROPIC_BASE_URL={}", stub.base_url())?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}
