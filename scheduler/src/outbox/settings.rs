//! Where alerts go: settings, and what is made of them.

use std::fmt;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use domain::outbox::Sink;
use http::Uri;
use service::Refused;
use service::settings::{Secret, SecretSetting, duration};

service::secret! {
    /// Token of the Telegram bot that sends alerts
    pub TelegramBotToken = "ORCH_TELEGRAM_BOT_TOKEN";
    /// URL that alerts are posted to as JSON, such as a relay of your own
    pub AlertWebhookUrl = "ORCH_ALERT_WEBHOOK_URL";
    /// Secret that posted alerts are signed with: `X-Orch-Signature: sha256=` and the HMAC-SHA-256 of the body in hex
    pub AlertWebhookSecret = "ORCH_ALERT_WEBHOOK_SECRET";
}

/// Where alerts go, and when silence is one.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct AlertSettings {
    /// See [`TelegramBotToken`].
    #[command(flatten)]
    pub telegram_bot_token: SecretSetting<TelegramBotToken>,
    /// The Telegram chat that alerts are sent to; given together with the bot's token
    #[arg(long, env = "ORCH_TELEGRAM_CHAT_ID", value_name = "ID", allow_hyphen_values = true)]
    pub telegram_chat_id: Option<String>,
    /// Telegram's Bot API, or a Bot API server of your own; the token is sent there, so only https, or http on loopback
    #[arg(
        long,
        env = "ORCH_TELEGRAM_API_URL",
        value_name = "URL",
        default_value = "https://api.telegram.org"
    )]
    pub telegram_api_url: String,
    /// See [`AlertWebhookUrl`].
    #[command(flatten)]
    pub alert_webhook_url: SecretSetting<AlertWebhookUrl>,
    /// See [`AlertWebhookSecret`].
    #[command(flatten)]
    pub alert_webhook_secret: SecretSetting<AlertWebhookSecret>,
    /// Whether alerts are written to the scheduler's log
    #[arg(
        long,
        env = "ORCH_ALERT_DRY_RUN",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true"
    )]
    pub alert_dry_run: bool,
    /// How long a source that has delivered webhooks before may be silent before that is an alert; 0: for ever
    #[arg(long, env = "ORCH_WEBHOOK_SILENCE_SECONDS", value_name = "DURATION", default_value = "3d", value_parser = duration)]
    pub webhook_silence_seconds: Duration,
}

/// The sinks that are configured.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    telegram: Option<Chat>,
    webhook: Option<Endpoint>,
    dry_run: bool,
}

/// A Telegram chat; `Debug` shows no token.
#[derive(Clone)]
pub(super) struct Chat {
    /// Where `sendMessage` is, with the token.
    pub(super) url: Uri,
    pub(super) token: Secret,
    pub(super) id: String,
}

/// Where alerts are posted to; `Debug` shows no URL.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) url: Uri,
    pub(super) secret: Option<Secret>,
}

impl AlertSettings {
    /// The sinks these settings ask for.
    ///
    /// # Errors
    /// A setting is missing beside another, or a URL cannot be used; no refusal shows a secret.
    pub fn sinks(&self) -> Result<Sinks, Refused> {
        let telegram = match (self.telegram_bot_token.get(), &self.telegram_chat_id) {
            (None, None) => None,
            (Some(token), Some(id)) => Some(self.chat(token, id)?),
            (_, _) => {
                return Err(Refused::new(
                    "ORCH_TELEGRAM_BOT_TOKEN and ORCH_TELEGRAM_CHAT_ID belong together: give both or none",
                ));
            }
        };
        let secret = self.alert_webhook_secret.get().cloned();
        let webhook = match self.alert_webhook_url.get() {
            Some(url) => Some(Endpoint { url: webhook_url(url)?, secret }),
            None if secret.is_some() => {
                return Err(Refused::new(
                    "ORCH_ALERT_WEBHOOK_SECRET is given without ORCH_ALERT_WEBHOOK_URL, where it would be used",
                ));
            }
            None => None,
        };
        Ok(Sinks { telegram, webhook, dry_run: self.alert_dry_run })
    }

    fn chat(&self, token: &Secret, id: &str) -> Result<Chat, Refused> {
        let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
        if !token.expose().chars().all(well_formed) {
            return Err(Refused::new(
                "ORCH_TELEGRAM_BOT_TOKEN is no bot token: it has digits, a colon, letters, - and _ alone",
            ));
        }
        let base = &self.telegram_api_url;
        let unfit =
            || Refused::new(format!("ORCH_TELEGRAM_API_URL `{base}` must be https, or http on loopback"));
        let url = format!("{}/bot{}/sendMessage", base.trim_end_matches('/'), token.expose());
        let url: Uri = url.parse().map_err(|_| unfit())?;
        if is_https(&url) || (url.scheme_str() == Some("http") && is_loopback(&url)) {
            Ok(Chat { url, token: token.clone(), id: id.to_owned() })
        } else {
            Err(unfit())
        }
    }
}

fn webhook_url(url: &Secret) -> Result<Uri, Refused> {
    let parsed = url.expose().parse::<Uri>().ok().filter(|url| url.host().is_some());
    parsed.filter(|url| matches!(url.scheme_str(), Some("https" | "http"))).ok_or_else(|| {
        Refused::new("ORCH_ALERT_WEBHOOK_URL must start with https:// or http:// and name a host")
    })
}

fn is_https(url: &Uri) -> bool {
    url.scheme_str() == Some("https") && url.host().is_some()
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Sinks {
    /// The sinks by their words.
    pub(crate) fn all(&self) -> Vec<Sink> {
        let sinks = [
            (self.telegram.is_some(), Sink::Telegram),
            (self.webhook.is_some(), Sink::Webhook),
            (self.dry_run, Sink::DryRun),
        ];
        sinks.into_iter().filter_map(|(is_there, sink)| is_there.then_some(sink)).collect()
    }

    /// The URLs that will be called.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &Uri> {
        let telegram = self.telegram.iter().map(|chat| &chat.url);
        telegram.chain(self.webhook.iter().map(|endpoint| &endpoint.url))
    }

    /// What nobody is shown.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let token = self.telegram.iter().map(|chat| chat.token.clone());
        let webhook = self.webhook.iter();
        let hidden = webhook.clone().filter_map(|endpoint| endpoint.secret.clone());
        token.chain(hidden).chain(webhook.map(|endpoint| Secret::new(endpoint.url.to_string()))).collect()
    }

    pub(super) fn telegram(&self) -> Option<Chat> {
        self.telegram.clone()
    }

    pub(super) fn webhook(&self) -> Option<Endpoint> {
        self.webhook.clone()
    }

    pub(super) fn has_dry_run(&self) -> bool {
        self.dry_run
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const TOKEN: &str = "--telegram-bot-token=12345:hunter2-TOKEN_x";
    const CHAT: &str = "--telegram-chat-id=-1001";

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        alerts: AlertSettings,
    }

    fn sinks(args: &[&str]) -> Result<Sinks, String> {
        let all = std::iter::once("test").chain(args.iter().copied());
        let cli: Cli = service::settings::try_parse_from(all).unwrap();
        cli.alerts.sinks().map_err(|refused| refused.to_string())
    }

    #[test]
    fn sinks_follow_from_the_settings_and_show_no_secret() {
        assert_eq!(sinks(&[]).unwrap().all(), []);
        let url = "--alert-webhook-url=https://hooks.example/services/hunter2";
        let all = sinks(&[TOKEN, CHAT, url, "--alert-webhook-secret=hunter2", "--alert-dry-run"]).unwrap();
        assert_eq!(all.all(), [Sink::Telegram, Sink::Webhook, Sink::DryRun]);
        assert!(!format!("{all:?} {all:#?}").contains("hunter2"), "{all:?}");
        let chat = all.telegram().unwrap();
        let expected = "https://api.telegram.org/bot12345:hunter2-TOKEN_x/sendMessage";
        assert_eq!((chat.url.to_string().as_str(), chat.id.as_str()), (expected, "-1001"));
    }

    #[test]
    fn what_cannot_work_is_refused_without_showing_a_secret() {
        for args in [
            &[TOKEN][..],
            &[CHAT],
            &["--telegram-bot-token=hunter2/../x", CHAT],
            &[TOKEN, CHAT, "--telegram-api-url=http://telegram.example"],
            &[TOKEN, CHAT, "--telegram-api-url=api.telegram.org"],
            &["--alert-webhook-url=hooks.example/hunter2"],
            &["--alert-webhook-url=ftp://hooks.example/hunter2"],
            &["--alert-webhook-secret=hunter2"],
        ] {
            let refused = sinks(args).unwrap_err();
            assert!(refused.contains("ORCH_") && !refused.contains("hunter2"), "{refused}");
        }
        for base in [
            "http://127.0.0.1:8081/",
            "http://[::1]:8081",
            "http://localhost:8081",
            "https://bots.example/api",
        ] {
            assert!(sinks(&[TOKEN, CHAT, &format!("--telegram-api-url={base}")]).is_ok(), "{base}");
        }
    }
}
