//! Sessions and the term, in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::NodeId;
use domain::term::Term;

use super::MemoryStore;
use crate::{Error, Fleet, Session, Speaking};

#[async_trait]
impl Fleet for MemoryStore {
    async fn open_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error> {
        self.write("open_session", |tables| {
            let before = tables.sessions.get(&node);
            if before.is_some_and(|before| before.session.incarnation > session.incarnation) {
                return Ok(None);
            }
            let heard = before.map_or(0, |before| before.heard) + 1;
            tables.sessions.insert(node, Speaking { session, heard });
            Ok(Some(heard))
        })
    }

    async fn hear_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error> {
        self.write("hear_session", |tables| {
            let same = |known: &&mut Speaking| {
                (known.session.incarnation, &known.session.nonce) == (session.incarnation, &session.nonce)
            };
            let Some(known) = tables.sessions.get_mut(&node).filter(same) else { return Ok(None) };
            known.heard += 1;
            known.session.home = session.home;
            Ok(Some(known.heard))
        })
    }

    async fn sessions(&self) -> Result<BTreeMap<NodeId, Speaking>, Error> {
        self.read(|tables| tables.sessions.clone())
    }

    async fn term(&self) -> Result<Term, Error> {
        self.read(|tables| tables.term.clone())
    }

    async fn write_term(&self, seen: Term, next: Term) -> Result<bool, Error> {
        self.write("write_term", |tables| {
            let as_seen = (tables.term.number, tables.term.beat) == (seen.number, seen.beat);
            if as_seen {
                tables.term = next;
            }
            Ok(as_seen)
        })
    }
}
