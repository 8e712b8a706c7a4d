//! `orch`: the admin commands, `orch dev`, and the hidden subcommands that run beside agents.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctl::main()
}
