//! The command line of the real CLI, as far as Orch uses it. Unknown flags are ignored, so that a new
//! flag needs no change here; the refusals that Orch could run into are kept.

use std::time::Duration;

/// Flags that take a value; the value must not be mistaken for a prompt.
const WITH_VALUE: [&str; 22] = [
    "--add-dir",
    "--agents",
    "--allowed-tools",
    "--allowedTools",
    "--append-system-prompt",
    "--disallowed-tools",
    "--disallowedTools",
    "--fallback-model",
    "--input-format",
    "--max-budget-usd",
    "--max-turns",
    "--mcp-config",
    "--model",
    "--output-format",
    "--permission-mode",
    "--permission-prompt-tool",
    "--resume",
    "--session-id",
    "--setting-sources",
    "--settings",
    "--system-prompt",
    "--tools",
];

/// One command line, understood.
#[derive(Debug, Default)]
pub(crate) struct Invocation {
    /// `--version` was asked for.
    pub(crate) version: bool,
    /// The model named, or the default of the real CLI.
    pub(crate) model: String,
    /// The session's id: given, resumed or made up.
    pub(crate) session_id: String,
    /// Whether that session must be there already.
    pub(crate) resume: bool,
    /// The permission mode shown in `system/init`.
    pub(crate) permission_mode: String,
    /// A prompt given as an argument.
    pub(crate) prompt: Option<String>,
    /// Set in the child that outlives its parent: how long it lives.
    pub(crate) orphan: Option<Duration>,
}

impl Invocation {
    /// Understands the arguments after the program's name.
    ///
    /// # Errors
    /// The sentence the real CLI prints on stderr before it exits with 1.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed =
            Self { model: "claude-opus-5-5".into(), permission_mode: "default".into(), ..Self::default() };
        let (mut stream_json, mut verbose) = (false, false);
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let (flag, inline) = match argument.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                Some(_) | None => (argument.clone(), None),
            };
            let value = if WITH_VALUE.contains(&flag.as_str()) || flag == crate::act::ORPHAN_FLAG {
                Some(
                    inline
                        .or_else(|| arguments.next())
                        .ok_or_else(|| format!("error: option '{flag}' argument missing"))?,
                )
            } else {
                None
            };
            match (flag.as_str(), value) {
                ("--version" | "-v", None) => parsed.version = true,
                ("--verbose", None) => verbose = true,
                ("--output-format", Some(format)) => stream_json = format == "stream-json",
                ("--model", Some(model)) => parsed.model = model,
                ("--permission-mode", Some(mode)) => parsed.permission_mode = mode,
                ("--dangerously-skip-permissions", None) => {
                    parsed.permission_mode = "bypassPermissions".into();
                }
                ("--session-id", Some(id)) => {
                    if uuid::Uuid::parse_str(&id).is_err() {
                        return Err("Error: Invalid session ID. Must be a valid UUID.".into());
                    }
                    parsed.session_id = id;
                }
                ("--resume", Some(id)) => {
                    parsed.session_id = id;
                    parsed.resume = true;
                }
                (flag, Some(seconds)) if flag == crate::act::ORPHAN_FLAG => {
                    let seconds = seconds.parse().map_err(|_| format!("bad lifetime {seconds}"))?;
                    parsed.orphan = Some(Duration::from_secs_f64(seconds));
                }
                (text, None) if !text.starts_with('-') => parsed.prompt = Some(argument),
                (_ignored, _) => {}
            }
        }
        if stream_json && !verbose {
            return Err("Error: When using --print, --output-format=stream-json requires --verbose".into());
        }
        if parsed.permission_mode == "bypassPermissions"
            && rustix::process::geteuid().is_root()
            && std::env::var_os("IS_SANDBOX").is_none()
        {
            return Err("--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons".into());
        }
        if parsed.session_id.is_empty() {
            parsed.session_id = uuid::Uuid::new_v4().to_string();
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::Invocation;

    fn parse(line: &str) -> Result<Invocation, String> {
        Invocation::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_not_prompts_and_unknown_flags_are_ignored() {
        let parsed = parse(
            "-p --output-format stream-json --verbose --model sonnet --max-turns 80 --future --effort=high",
        )
        .unwrap();
        assert_eq!((parsed.model.as_str(), parsed.prompt), ("sonnet", None));
    }

    #[test]
    fn the_refusals_of_the_real_cli_are_kept() {
        assert!(parse("-p --output-format stream-json").unwrap_err().contains("requires --verbose"));
        assert!(parse("-p --session-id nonsense").unwrap_err().contains("valid UUID"));
    }

    #[test]
    fn a_session_is_named_resumed_or_made_up() {
        let id = "9a15f593-7196-4556-85b4-ccbca393236b";
        assert_eq!(parse(&format!("-p --session-id {id}")).unwrap().session_id, id);
        assert_eq!(parse(&format!("-p --resume {id}")).unwrap().session_id, id);
        assert_ne!(parse("-p").unwrap().session_id, parse("-p").unwrap().session_id);
    }
}
