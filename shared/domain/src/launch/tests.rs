use super::*;
use crate::pipeline::parse;

const CONFIG: &str = r#"
[identity]
gitea_user_id = 42
plane_user_id = "b07b07b0-0000-4000-8000-00000000b07a"

[[project]]
name = "shop"
gitea_repo = "acme/shop"
plane_workspace_id = "00000000-0000-4000-8000-000000000001"
plane_project_id = "00000000-0000-4000-8000-000000000002"
plane_identifier = "SHOP"

[[stage]]
name = "review"
role = "reviewer"
prompt = "p.md"

[[stage]]
name = "deploy"
role = "deployer"
prompt = "p.md"

[[trigger]]
on = "gitea.pull_request"
stage = "review"

[[trigger]]
on = "gitea.pull_request"
stage = "review"
when = { branch = "main" }

[[trigger]]
on = "gitea.pull_request"
stage = "deploy"
when = { action = "merged" }

[[trigger]]
on = "gitea.pull_request"
stage = "deploy"
when = { action = "opened", branch = "hotfix/*", trust = "member" }

[[trigger]]
on = "plane.labels_changed"
stage = "review"
when = { label = "Agent", field = "labels" }
"#;

fn pull_request(action: PullRequestAction) -> LaunchEvent {
    LaunchEvent {
        point: LaunchPoint::GiteaPullRequest,
        subject: Subject::PullRequest { number: 12, own_head: None },
        actor: Some(Actor::Gitea(5)),
        trust: Trust::Outsider,
        facts: Facts { action: Some(action), branch: Some("main".to_owned()), ..Facts::default() },
        head: None,
        semantic_key: "key".to_owned(),
        sighting: None,
    }
}

/// The stages `event` starts, or the other decision's name.
fn stages(pipeline: &Pipeline, event: &LaunchEvent) -> Vec<String> {
    match decide(pipeline, &pipeline.projects[0], event) {
        Decision::Launch(stages) | Decision::Restricted(stages) => {
            stages.into_iter().map(|stage| stage.name.clone()).collect()
        }
        other @ (Decision::OwnActor | Decision::Untrusted | Decision::NoTrigger) => {
            vec![format!("{other:?}")]
        }
    }
}

#[test]
fn every_matching_trigger_starts_its_stage_once() {
    let pipeline = parse(CONFIG).unwrap();
    assert_eq!(stages(&pipeline, &pull_request(PullRequestAction::Opened)), ["review"]);
    let hotfix = LaunchEvent {
        trust: Trust::Member,
        facts: Facts {
            action: Some(PullRequestAction::Opened),
            branch: Some("hotfix/1".to_owned()),
            ..Facts::default()
        },
        ..pull_request(PullRequestAction::Opened)
    };
    assert_eq!(stages(&pipeline, &hotfix), ["review", "deploy"]);
    let stranger = LaunchEvent { trust: Trust::Outsider, ..hotfix };
    assert_eq!(stages(&pipeline, &stranger), ["review"]);
}

#[test]
fn a_merge_starts_only_what_asks_for_it() {
    let pipeline = parse(CONFIG).unwrap();
    assert_eq!(stages(&pipeline, &pull_request(PullRequestAction::Merged)), ["deploy"]);
}

#[test]
fn our_own_events_start_nothing() {
    let pipeline = parse(CONFIG).unwrap();
    let own = LaunchEvent { actor: Some(Actor::Gitea(42)), ..pull_request(PullRequestAction::Opened) };
    assert_eq!(stages(&pipeline, &own), ["OwnActor"]);
    let nobody = LaunchEvent { actor: None, ..own };
    assert_eq!(stages(&pipeline, &nobody), ["review"]);
    let identity = Identity::default();
    assert!(!Actor::Gitea(0).is(&identity), "an identity that is not set matches nobody");
}

#[test]
fn a_project_may_ask_for_trust() {
    let mut pipeline = parse(CONFIG).unwrap();
    pipeline.projects[0].trust = Some(Trust::Member);
    assert_eq!(stages(&pipeline, &pull_request(PullRequestAction::Opened)), ["Untrusted"]);
}

#[test]
fn a_label_is_known_by_name_or_id() {
    let pipeline = parse(CONFIG).unwrap();
    let event = |labels: Vec<Label>, field| LaunchEvent {
        point: LaunchPoint::PlaneLabelsChanged,
        facts: Facts { labels, field: Some(field), ..Facts::default() },
        ..pull_request(PullRequestAction::Opened)
    };
    let label = |name: &str| Label { id: "22222222".to_owned(), name: Some(name.to_owned()) };
    assert_eq!(stages(&pipeline, &event(vec![label("agent")], "labels")), ["review"]);
    assert_eq!(stages(&pipeline, &event(vec![label("agent")], "assignees")), ["NoTrigger"]);
    assert_eq!(stages(&pipeline, &event(vec![label("bug")], "labels")), ["NoTrigger"]);
    assert_eq!(stages(&pipeline, &event(Vec::new(), "labels")), ["NoTrigger"]);
}

#[test]
fn projects_are_found_by_repository_or_by_workspace_and_project() {
    let pipeline = parse(CONFIG).unwrap();
    let id = |last: u8| Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 + u128::from(last));
    let name = |scope: &Scope| project_of(&pipeline, scope).map(|project| project.name.as_str());
    assert_eq!(name(&Scope::Repo("Acme/Shop".to_owned())), Some("shop"));
    assert_eq!(name(&Scope::Repo("acme/other".to_owned())), None);
    assert_eq!(name(&Scope::PlaneProject { workspace: id(1), project: id(2) }), Some("shop"));
    assert_eq!(name(&Scope::PlaneProject { workspace: id(2), project: id(2) }), None);
    assert!(knows_workspace(&pipeline, id(1)));
    assert!(!knows_workspace(&pipeline, id(9)));
}

#[test]
fn work_items_have_the_keys_of_the_design() {
    let pipeline = parse(CONFIG).unwrap();
    let project = &pipeline.projects[0];
    let head = |branch: &str| Subject::PullRequest { number: 12, own_head: Some(branch.to_owned()) };
    let issue = |sequence| Subject::Issue { id: Uuid::nil(), sequence };
    let cases = [
        (head("orch/SHOP-7"), "SHOP-7"),
        (head("feature/x"), "acme/shop#12"),
        (head("orch/"), "acme/shop#12"),
        (head("orch/$(id)"), "acme/shop#12"),
        (Subject::PullRequest { number: 3, own_head: None }, "acme/shop#3"),
        (Subject::Branch("main".to_owned()), "acme/shop@main"),
        (Subject::Branch("orch/acme/shop#4".to_owned()), "acme/shop#4"),
        (Subject::Branch("orch/acme/shop@a+2bb".to_owned()), "acme/shop@a+b"),
        (head("orch/fix+20login"), "fix login"),
        (head("orch/Shop-4++7"), "Shop-4"),
        (head("orch/a+b"), "acme/shop#12"),
        (Subject::Commit("0123456789abcdef0123".to_owned()), "acme/shop@0123456789ab"),
        (issue(Some(12)), "SHOP-12"),
        (issue(None), "00000000-0000-0000-0000-000000000000"),
    ];
    for (subject, expected) in cases {
        assert_eq!(work_item_key(project, &subject), expected, "{subject:?}");
    }
}

#[test]
fn where_a_label_lets_outsiders_in_their_events_are_restricted_rather_than_ignored() {
    let mut pipeline = parse(CONFIG).unwrap();
    pipeline.projects[0].trust = Some(Trust::Member);
    pipeline.projects[0].trust_label = Some("let-in".to_owned());
    let of = |trust| LaunchEvent { trust, ..pull_request(PullRequestAction::Opened) };
    let decided = |event: &LaunchEvent| decide(&pipeline, &pipeline.projects[0], event).clone();
    assert!(matches!(decided(&of(Trust::Outsider)), Decision::Restricted(stages) if stages.len() == 1));
    assert!(matches!(decided(&of(Trust::Member)), Decision::Launch(stages) if stages.len() == 1));
}
