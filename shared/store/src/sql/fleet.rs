//! Sessions of runners and the term of the leading scheduler: each a narrow row, written by compare-and-set.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::term::Term;
use domain::{Incarnation, NodeId, Timestamp};

use super::connection::{Connection, Row, query};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::get;
use super::{SqlStore, mismatch};
use crate::Error;
use crate::fleet::{Fleet, Heard, Session, Speaking};

/// What can be asked of the writer.
#[derive(Debug)]
pub(crate) enum Ask {
    Open(NodeId, Session),
    Hear(NodeId, Session),
    WriteTerm { seen: Term, next: Term },
}

#[async_trait]
impl Fleet for SqlStore {
    async fn open_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error> {
        let answer = self.ask(Request::Fleet(Ask::Open(node, session))).await?;
        if let Answer::Heard(heard) = answer { Ok(heard) } else { Err(mismatch(&answer)) }
    }

    async fn hear_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error> {
        let answer = self.ask(Request::Fleet(Ask::Hear(node, session))).await?;
        if let Answer::Heard(heard) = answer { Ok(heard) } else { Err(mismatch(&answer)) }
    }

    async fn sessions(&self) -> Result<BTreeMap<NodeId, Speaking>, Error> {
        let query = query!("sessions");
        self.fetch_all(query).await?.iter().map(speaking).collect()
    }

    async fn term(&self) -> Result<Term, Error> {
        let query = query!("term");
        term(&self.fetch_one(query).await?)
    }

    async fn listen(&self, direct: Option<String>, heard: Heard) {
        self.database.listen(direct, heard).await;
    }

    async fn write_term(&self, seen: Term, next: Term) -> Result<bool, Error> {
        let answer = self.ask(Request::Fleet(Ask::WriteTerm { seen, next })).await?;
        if let Answer::Found(written) = answer { Ok(written) } else { Err(mismatch(&answer)) }
    }
}

/// Writes what is asked for.
pub(super) async fn answer(conn: &mut Connection<'_>, ask: &Ask) -> Result<Answer, Fault> {
    let (query, node, session) = match ask {
        Ask::Open(node, session) => (query!("session_open"), node, session),
        Ask::Hear(node, session) => (query!("session_hear"), node, session),
        Ask::WriteTerm { seen, next } => return write_term(conn, seen, next).await,
    };
    let query = query.bind(&node.0).bind(session.incarnation.0).bind(&session.nonce).bind(&session.home);
    let row = query.fetch_optional(conn).await?;
    Ok(Answer::Heard(row.as_ref().map(heard).transpose()?))
}

async fn write_term(conn: &mut Connection<'_>, seen: &Term, next: &Term) -> Result<Answer, Fault> {
    let query = query!("term_write")
        .bind(next.holder.as_deref())
        .bind(signed(next.number))
        .bind(signed(next.beat))
        .bind(next.deadline.as_ms())
        .bind(signed(seen.number))
        .bind(signed(seen.beat));
    Ok(Answer::Found(query.fetch_optional(conn).await?.is_some()))
}

fn speaking(row: &Row) -> Result<(NodeId, Speaking), Error> {
    let session = Session {
        incarnation: Incarnation(get(row, "incarnation")?),
        nonce: get(row, "nonce")?,
        home: get(row, "home")?,
    };
    Ok((NodeId(get(row, "node")?), Speaking { session, heard: heard(row)? }))
}

fn heard(row: &Row) -> Result<u64, Error> {
    get::<i64>(row, "heard").map(i64::unsigned_abs)
}

fn term(row: &Row) -> Result<Term, Error> {
    Ok(Term {
        holder: get(row, "holder")?,
        number: get::<i64>(row, "number")?.unsigned_abs(),
        beat: get::<i64>(row, "beat")?.unsigned_abs(),
        deadline: Timestamp::from_ms(get(row, "deadline")?),
    })
}

/// The databases' integers are signed; nothing real comes near.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
