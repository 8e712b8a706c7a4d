//! Who may call what. Decides by the caller's role and, for people, by whether a call only looks; that a node speaks for
//! itself alone is checked where its message is read.

use axum::Router;
use service::tls::{Caller, PeerName, Role};

use crate::certificates::{Ca, JOIN};

const SCHEDULER_SERVICE: &str = "/orch.v1.SchedulerService/";
const ADMIN_SERVICE: &str = "/orch.v1.AdminService/";
const JOIN_SERVICE: &str = "/orch.v1.JoinService/";
const NUDGE: &str = "/orch.v1.SchedulerService/Nudge";
/// What calls of the admin service begin with that change nothing.
const LOOKING: [&str; 4] = ["Get", "List", "Stream", "Watch"];
/// The service that people act through.
const CONSOLE: &str = "console";

/// Puts the rule before the scheduler's services.
pub(crate) fn guarded(app: Router, ca: Option<&Ca>) -> Router {
    let revoked = ca.map(Ca::revoked);
    service::tls::guarded(app, move |caller, path| {
        if let (Caller::Peer(peer), Some(revoked)) = (caller, &revoked)
            && revoked.get().contains(peer)
        {
            return Err(format!("{peer} is revoked"));
        }
        if may(caller, path) { Ok(()) } else { Err(format!("{caller} may not call {path}")) }
    })
}

fn may(caller: &Caller, path: &str) -> bool {
    match caller {
        Caller::Plaintext => true,
        // The listener lets strangers through to nothing else.
        Caller::Stranger => path == JOIN,
        Caller::Peer(peer) => peer_may(peer, path),
    }
}

fn peer_may(peer: &PeerName, path: &str) -> bool {
    let acts = match peer.role() {
        Role::Admin => true,
        Role::Service => peer.name() == CONSOLE,
        Role::Scheduler | Role::Node | Role::Viewer => false,
    };
    if path == NUDGE {
        return acts || peer.role() == Role::Service;
    }
    if path.starts_with(SCHEDULER_SERVICE) || path.starts_with(JOIN_SERVICE) {
        return peer.role() == Role::Node || path == JOIN;
    }
    if let Some(call) = path.strip_prefix(ADMIN_SERVICE) {
        let looks = LOOKING.iter().any(|word| call.starts_with(word));
        return acts || (looks && peer.role() == Role::Viewer);
    }
    // Health, metrics and reflection are for everybody who belongs here; a service of ours that is not named above is not.
    !path.starts_with("/orch.v1.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_its_doors_and_no_others() {
        let paths = [
            "/orch.v1.JoinService/Join",
            "/orch.v1.JoinService/Rotate",
            "/orch.v1.SchedulerService/Renew",
            "/orch.v1.SchedulerService/Nudge",
            "/orch.v1.AdminService/GetQueue",
            "/orch.v1.AdminService/StreamLogs",
            "/orch.v1.AdminService/CancelJob",
            "/orch.v1.Unheard/Of",
            "/metrics",
        ];
        let opened = |caller: &str| {
            let caller = match caller {
                "stranger" => Caller::Stranger,
                "plaintext" => Caller::Plaintext,
                name => Caller::Peer(name.parse().unwrap()),
            };
            paths.map(|path| if may(&caller, path) { '+' } else { '-' }).iter().collect::<String>()
        };
        let table = [
            ("stranger", "+--------"),
            ("node/a", "+++-----+"),
            ("service/ingest", "+--+----+"),
            ("service/console", "+--++++-+"),
            ("admin/ada", "+--++++-+"),
            ("viewer/bob", "+---++--+"),
            ("scheduler/main", "+-------+"),
            ("plaintext", "+++++++++"),
        ];
        for (caller, expected) in table {
            assert_eq!(opened(caller), expected, "{caller}");
        }
    }

    #[test]
    fn every_call_of_the_admin_service_is_known_to_look_or_to_act() {
        let looking = [
            "GetQueue",
            "ListJobs",
            "GetJob",
            "ListLive",
            "ListAudit",
            "ListRunners",
            "ListBreakers",
            "ListAccounts",
            "ListItems",
            "ListBudgets",
            "Watch",
            "StreamLogs",
        ];
        for call in looking {
            assert!(LOOKING.iter().any(|word| call.starts_with(word)), "{call}");
        }
        let acting = [
            "Enqueue",
            "CancelJob",
            "RetryJob",
            "RetryJobs",
            "Pause",
            "Resume",
            "DrainRunner",
            "LoseRunner",
            "ResetBreaker",
            "ResumeAccount",
            "ApproveItem",
            "RejectItem",
            "RaiseBudget",
        ];
        for call in acting {
            assert!(!LOOKING.iter().any(|word| call.starts_with(word)), "{call}");
        }
    }
}
