//! What the stand-in keeps: states, labels, issues, comments, and who may write.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{RATE_LIMIT, Write};

/// Where the project is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The workspace's name in addresses.
    pub slug: String,
    /// The workspace.
    pub workspace: Uuid,
    /// The project.
    pub id: Uuid,
    /// What keys begin with, such as `SHOP`.
    pub identifier: String,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// Its display name.
    pub name: String,
    /// Its API key.
    pub key: String,
}

/// A state's group, which names do not change.
pub type StateGroup = &'static str;

#[derive(Clone, Debug)]
pub(super) struct WorkflowState {
    pub(super) id: Uuid,
    pub(super) name: &'static str,
    pub(super) color: &'static str,
    pub(super) group: StateGroup,
}

/// An issue.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    /// Its id.
    pub id: Uuid,
    /// The number in its key.
    pub sequence: u64,
    /// Its title.
    pub name: String,
    /// Its description.
    pub html: String,
    /// Its state.
    pub state: Uuid,
    /// Its labels.
    pub labels: Vec<Uuid>,
    /// Who opened it.
    pub created_by: Uuid,
    /// Who changed it last.
    pub updated_by: Option<Uuid>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// Its id.
    pub id: Uuid,
    /// Its issue.
    pub issue: Uuid,
    /// What it says.
    pub html: String,
    /// Who says it.
    pub actor: Uuid,
    /// `INTERNAL` or `EXTERNAL`.
    pub access: String,
    /// `external_source` and `external_id`.
    pub external: Option<(String, String)>,
    /// When.
    pub created_at: Timestamp,
}

/// A change that webhooks tell.
#[derive(Clone, Debug)]
pub(super) enum Changed {
    Created { issue: Uuid },
    Field { issue: Uuid, field: Field, old: Value, new: Value },
    Commented { comment: Uuid },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    State,
    Labels,
    Name,
    Description,
}

impl Field {
    /// The web page and the API write different names.
    pub(super) const fn name(self, through_api: bool) -> &'static str {
        match (self, through_api) {
            (Self::State, true) => "state",
            (Self::State, false) => "state_id",
            (Self::Labels, true) => "labels",
            (Self::Labels, false) => "label_ids",
            (Self::Name, _) => "name",
            (Self::Description, _) => "description_html",
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) project: Project,
    pub(super) users: Vec<User>,
    pub(super) states: Vec<WorkflowState>,
    pub(super) labels: Vec<(Uuid, String)>,
    pub(super) issues: Vec<Issue>,
    pub(super) comments: Vec<Comment>,
    pub(super) limit: Option<(u32, Duration)>,
    /// When each key was used, within the window.
    pub(super) used: BTreeMap<String, VecDeque<Duration>>,
    last_sequence: u64,
}

type Made<T> = Option<(T, Vec<Changed>)>;

impl State {
    pub(super) fn new(project: Project) -> Self {
        let states = [
            ("Backlog", "#60646C", "backlog"),
            ("Todo", "#60646C", "unstarted"),
            ("In Progress", "#F59E0B", "started"),
            ("Done", "#46A758", "completed"),
            ("Cancelled", "#9AA4BC", "cancelled"),
        ]
        .map(|(name, color, group)| WorkflowState { id: Uuid::new_v4(), name, color, group });
        let mut state = Self {
            project,
            users: Vec::new(),
            states: states.to_vec(),
            labels: Vec::new(),
            issues: Vec::new(),
            comments: Vec::new(),
            limit: Some((RATE_LIMIT, Duration::from_mins(1))),
            used: BTreeMap::new(),
            last_sequence: 0,
        };
        for name in ["orch", "jane"] {
            state.user_named(name);
        }
        state
    }

    pub(super) fn user_named(&mut self, name: &str) -> User {
        if let Some(user) = self.users.iter().find(|user| user.name == name) {
            return user.clone();
        }
        let key = format!("plane_api_{}", Uuid::new_v4().simple());
        let user = User { id: Uuid::new_v4(), name: name.to_owned(), key };
        self.users.push(user.clone());
        user
    }

    pub(super) fn state_named(&self, name: &str) -> Option<&WorkflowState> {
        self.states.iter().find(|state| state.name == name)
    }

    pub(super) fn state_name(&self, id: Uuid) -> String {
        self.states
            .iter()
            .find(|state| state.id == id)
            .map_or_else(String::new, |state| state.name.to_owned())
    }

    pub(super) fn label_named(&mut self, name: &str) -> Uuid {
        if let Some((id, _)) = self.labels.iter().find(|(_, known)| known == name) {
            return *id;
        }
        let id = Uuid::new_v4();
        self.labels.push((id, name.to_owned()));
        id
    }

    pub(super) fn label_name(&self, id: Uuid) -> String {
        self.labels.iter().find(|(known, _)| *known == id).map_or_else(String::new, |(_, name)| name.clone())
    }

    pub(super) fn key_of(&self, issue: Uuid) -> String {
        let sequence = self.issue(issue).map_or(0, |issue| issue.sequence);
        format!("{}-{sequence}", self.project.identifier)
    }

    pub(super) fn issue(&self, id: Uuid) -> Option<&Issue> {
        self.issues.iter().find(|issue| issue.id == id)
    }

    pub(super) fn issue_of_key(&self, key: &str) -> Option<&Issue> {
        let sequence = key.strip_prefix(&self.project.identifier)?.strip_prefix('-')?.parse::<u64>().ok()?;
        self.issues.iter().find(|issue| issue.sequence == sequence)
    }

    fn issue_mut(&mut self, key: &str) -> Option<&mut Issue> {
        let id = self.issue_of_key(key)?.id;
        self.issues.iter_mut().find(|issue| issue.id == id)
    }

    pub(super) fn create_issue(&mut self, by: &User, name: &str, html: &str, now: Timestamp) -> Made<String> {
        self.last_sequence += 1;
        let issue = Issue {
            id: Uuid::new_v4(),
            sequence: self.last_sequence,
            name: name.to_owned(),
            html: html.to_owned(),
            state: self.states.first()?.id,
            labels: Vec::new(),
            created_by: by.id,
            updated_by: None,
            created_at: now,
            updated_at: now,
        };
        let id = issue.id;
        self.issues.push(issue);
        Some((self.key_of(id), vec![Changed::Created { issue: id }]))
    }

    pub(super) fn move_issue(&mut self, by: &User, key: &str, to: Uuid, now: Timestamp) -> Made<()> {
        self.states.iter().find(|state| state.id == to)?;
        let issue = self.issue_mut(key)?;
        let from = std::mem::replace(&mut issue.state, to);
        if from == to {
            return Some(((), Vec::new()));
        }
        (issue.updated_by, issue.updated_at) = (Some(by.id), now);
        let change =
            Changed::Field { issue: issue.id, field: Field::State, old: json!(from), new: json!(to) };
        Some(((), vec![change]))
    }

    pub(super) fn label_issue(&mut self, by: &User, key: &str, to: Vec<Uuid>, now: Timestamp) -> Made<()> {
        let issue = self.issue_mut(key)?;
        let from = std::mem::replace(&mut issue.labels, to);
        (issue.updated_by, issue.updated_at) = (Some(by.id), now);
        let (old, new) = (json!(from), json!(issue.labels));
        Some(((), vec![Changed::Field { issue: issue.id, field: Field::Labels, old, new }]))
    }

    pub(super) fn describe_issue(
        &mut self,
        by: &User,
        key: &str,
        field: Field,
        text: &str,
        now: Timestamp,
    ) -> Made<()> {
        let issue = self.issue_mut(key)?;
        let place = if field == Field::Name { &mut issue.name } else { &mut issue.html };
        let old = std::mem::replace(place, text.to_owned());
        (issue.updated_by, issue.updated_at) = (Some(by.id), now);
        Some(((), vec![Changed::Field { issue: issue.id, field, old: json!(old), new: json!(text) }]))
    }

    pub(super) fn comment(
        &mut self,
        by: &User,
        key: &str,
        html: &str,
        external: Option<(String, String)>,
        now: Timestamp,
    ) -> Made<Uuid> {
        let (issue, id) = (self.issue_of_key(key)?.id, Uuid::new_v4());
        self.comments.push(Comment {
            id,
            issue,
            html: html.to_owned(),
            actor: by.id,
            access: "INTERNAL".to_owned(),
            external,
            created_at: now,
        });
        Some((id, vec![Changed::Commented { comment: id }]))
    }

    pub(super) fn delete_issue(&mut self, key: &str) -> Option<()> {
        let id = self.issue_of_key(key)?.id;
        self.issues.retain(|issue| issue.id != id);
        self.comments.retain(|comment| comment.issue != id);
        Some(())
    }

    /// Counts a request of a key; tells what is left and until when, or how long to wait.
    pub(super) fn count(&mut self, key: &str, now: Duration) -> Result<Option<(u32, Duration)>, Duration> {
        let Some((most, window)) = self.limit else { return Ok(None) };
        let used = self.used.entry(key.to_owned()).or_default();
        while used.front().is_some_and(|at| *at + window <= now) {
            used.pop_front();
        }
        let count = u32::try_from(used.len()).unwrap_or(u32::MAX);
        if count >= most {
            return Err(used.front().map_or(window, |at| (*at + window).saturating_sub(now)));
        }
        used.push_back(now);
        let resets = used.front().map_or(window, |at| (*at + window).saturating_sub(now));
        Ok(Some((most - count - 1, resets)))
    }
}

impl Changed {
    pub(super) fn write(&self, state: &State) -> Option<Write> {
        match self {
            Self::Commented { comment } => {
                let comment = state.comments.iter().find(|known| known.id == *comment)?;
                Some(Write::Commented {
                    issue: state.key_of(comment.issue),
                    id: comment.id,
                    html: comment.html.clone(),
                    external: comment.external.clone(),
                })
            }
            Self::Field { issue, field: Field::State, old, new } => {
                let name = |id: &Value| {
                    id.as_str()
                        .and_then(|id| Uuid::parse_str(id).ok())
                        .map_or_else(String::new, |id| state.state_name(id))
                };
                Some(Write::Moved { issue: state.key_of(*issue), from: name(old), to: name(new) })
            }
            Self::Field { issue, field: Field::Labels, .. } => {
                let labels = &state.issue(*issue)?.labels;
                let labels = labels.iter().map(|id| state.label_name(*id)).collect();
                Some(Write::Labelled { issue: state.key_of(*issue), labels })
            }
            Self::Created { .. } | Self::Field { field: Field::Name | Field::Description, .. } => None,
        }
    }
}
