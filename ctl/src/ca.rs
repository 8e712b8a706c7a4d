//! `orch ca` and `orch join-token`: looks after the certificate authority, in its folder and without a scheduler.
//!
//! Whoever may read the folder may do everything: it belongs on the scheduler's host, and in its backup.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use pki::{Authority, Revoked, TokenTerms};
use serde::Serialize;
use service::Clock;
use service::settings::{CaSettings, TlsSettings, duration};
use service::tls::{Credentials, PeerName, Role};

use crate::exit::{Failure, with_causes};
use crate::print::Output;

/// How long the certificate is for that the admin commands make for themselves.
const OWN_LIFETIME: Duration = Duration::from_mins(10);

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the authority, once, on the scheduler's host
    Init {
        #[command(flatten)]
        ca: CaSettings,
    },
    /// Make a certificate for ingest, the console, or a person
    Issue(Issue),
    /// Throw somebody out: from now on no certificate of that name counts
    Revoke {
        /// Who, such as admin/ada, or node/ and its id
        name: PeerName,
        #[command(flatten)]
        ca: CaSettings,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Issue {
    /// Who it is for: service/ingest, service/console, admin/NAME (may do everything) or viewer/NAME (may look)
    name: PeerName,
    /// Folder to write ca.pem, cert.pem and key.pem to; what is there is replaced, which running processes notice
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How long it counts
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration)]
    lifetime: Duration,
    /// Names and addresses its bearer listens at, for callers that check those, such as curl
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    #[command(flatten)]
    ca: CaSettings,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct JoinToken {
    /// Where new runners reach the scheduler, such as `https://orch.example:7070`
    #[arg(long, env = "ORCH_SCHEDULER_URL", value_name = "URL")]
    url: String,
    /// How long it can be used
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    lifetime: Duration,
    /// How many runners may join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    #[command(flatten)]
    ca: CaSettings,
}

/// What was done, for scripts.
#[derive(Debug, Serialize)]
struct Report {
    dir: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// A token that was made.
#[derive(Debug, Serialize)]
struct Made {
    id: String,
    url: String,
    token: String,
}

/// `orch ca`.
pub(crate) fn run(verb: Verb, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Init { ca } => {
            let dir = folder(&ca)?;
            Authority::init(dir, now_ms()).map_err(|error| failed(&error))?;
            output.show(&Report { dir: dir.to_owned(), name: None }, |_| {
                format!(
                    "made a certificate authority in {0}\nstart the scheduler with ORCH_CA_DIR={0}; back the folder up, \
                     and let nobody read it\n",
                    dir.display()
                )
            })
        }
        Verb::Issue(issue) => issue.run(output),
        Verb::Revoke { name, ca } => {
            let dir = folder(&ca)?;
            let added = Revoked::add(&open(dir)?, &name).map_err(|error| failed(&error))?;
            output.show(&Report { dir: dir.to_owned(), name: Some(name.to_string()) }, |_| {
                if added {
                    format!("{name} is out: the scheduler refuses it within a second or two\n")
                } else {
                    format!("{name} is out already\n")
                }
            })
        }
    }
}

impl Issue {
    fn run(self, output: Output) -> Result<(), Failure> {
        if self.name.role() == Role::Node {
            return Err(Failure::Usage(
                "runners get their certificates by themselves: hand them a token of `orch join-token`"
                    .to_owned(),
            ));
        }
        let authority = open(folder(&self.ca)?)?;
        let material = authority.material(&self.name, &self.host, self.lifetime, now_ms());
        let material = material.map_err(|error| failed(&error))?;
        std::fs::create_dir_all(&self.out).map_err(|error| unwritten(&self.out, &error))?;
        let files = [
            ("ca.pem", 0o644, &material.ca),
            ("cert.pem", 0o644, &material.cert),
            ("key.pem", 0o600, &material.key),
        ];
        for (name, mode, bytes) in files {
            let path = self.out.join(name);
            replace(&path, mode, bytes).map_err(|error| unwritten(&path, &error))?;
        }
        let report = Report { dir: self.out.clone(), name: Some(self.name.to_string()) };
        output.show(&report, |_| {
            let out = self.out.display();
            format!("ORCH_TLS_CA={out}/ca.pem\nORCH_TLS_CERT={out}/cert.pem\nORCH_TLS_KEY={out}/key.pem\n")
        })
    }
}

/// `orch join-token`.
pub(crate) fn join_token(ask: &JoinToken, output: Output) -> Result<(), Failure> {
    if !ask.url.starts_with("https://") {
        return Err(Failure::Usage(format!(
            "{} is no place to join: runners join over TLS, at https://HOST:PORT of the scheduler",
            ask.url
        )));
    }
    let terms = TokenTerms { lifetime: ask.lifetime, uses: ask.uses };
    let token =
        open(folder(&ask.ca)?)?.make_token(&ask.url, terms, now_ms()).map_err(|error| failed(&error))?;
    let made = Made { token: token.expose(), id: token.id, url: token.url };
    output.show(&made, |_| format!("{}\n", made.token))
}

/// Where the authority is on this host, the admin commands need no certificate from elsewhere: they make themselves one.
pub(crate) fn own_credentials(ca: &CaSettings, tls: &TlsSettings) -> Result<TlsSettings, Failure> {
    let Some(dir) = ca.ca_dir.as_deref().filter(|_| !tls.is_on()) else { return Ok(tls.clone()) };
    let name = PeerName::new(Role::Admin, "cli").map_err(|error| Failure::Usage(error.to_string()))?;
    let material = open(dir)?.material(&name, &[], OWN_LIFETIME, now_ms()).map_err(|error| failed(&error))?;
    Ok(TlsSettings { own: Some(Credentials::new(material)?), ..tls.clone() })
}

fn folder(ca: &CaSettings) -> Result<&Path, Failure> {
    ca.ca_dir
        .as_deref()
        .ok_or_else(|| Failure::Usage("say where the authority is: --ca-dir PATH, or ORCH_CA_DIR".to_owned()))
}

fn open(dir: &Path) -> Result<Authority, Failure> {
    Authority::open(dir).map_err(|error| failed(&error))
}

fn failed(error: &pki::Error) -> Failure {
    match error {
        pki::Error::There(_) | pki::Error::Absent(_) => Failure::No(error.to_string()),
        pki::Error::File { .. } | pki::Error::Damaged { .. } | pki::Error::Certificate(_) => {
            Failure::Usage(with_causes(error))
        }
    }
}

fn replace(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let tmp = path.with_extension("tmp");
    // One that an end in between left would keep its mode.
    match std::fs::remove_file(&tmp) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&tmp, path)
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("could not write {}: {error}", path.display()))
}

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_commands_make_themselves_a_certificate_where_the_authority_is_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, tls) = (CaSettings { ca_dir: Some(folder.path().join("ca")) }, TlsSettings::default());
        assert!(own_credentials(&ca, &tls).is_err(), "there is none yet");
        run(Verb::Init { ca: ca.clone() }, Output { json: true, no_color: true }).unwrap();
        assert_eq!(own_credentials(&ca, &tls).unwrap().scheme(), "https");
        assert_eq!(own_credentials(&CaSettings::default(), &tls).unwrap().scheme(), "http");
    }

    #[test]
    fn a_certificate_is_written_for_people_and_services_and_not_for_nodes() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let ca = CaSettings { ca_dir: Some(folder.path().join("ca")) };
        let output = Output { json: true, no_color: true };
        run(Verb::Init { ca: ca.clone() }, output).unwrap();
        let issue = |name: &str| Issue {
            name: name.parse().unwrap(),
            out: folder.path().join("out"),
            lifetime: Duration::from_hours(1),
            host: vec!["localhost".to_owned()],
            ca: ca.clone(),
        };
        issue("service/ingest").run(output).unwrap();
        issue("admin/ada").run(output).expect("it is replaced");
        let path = |name: &str| Some(folder.path().join("out").join(name));
        let tls = TlsSettings {
            tls_ca: path("ca.pem"),
            tls_cert: path("cert.pem"),
            tls_key: path("key.pem"),
            ..TlsSettings::default()
        };
        tls.acceptor().unwrap().expect("the three fit");
        let mode = path("key.pem").unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = issue("node/a").run(output).unwrap_err().to_string();
        assert!(refused.contains("orch join-token"), "{refused}");
    }
}
