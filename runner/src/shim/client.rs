//! The runner's end of a shim's socket.

use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::protocol::{Answer, Ask, Question, VERSION};
use crate::run_dir::{Assignment, RunDir};
use crate::shims::ShimLink;

/// How long a shim may take to answer; it does nothing that takes longer but kill what is left at the end.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A connection to the shim of one run. While it stands, the shim lives.
#[derive(Debug)]
pub(crate) struct Link {
    answers: Lines<BufReader<OwnedReadHalf>>,
    questions: OwnedWriteHalf,
    question: Question,
    _dir: File,
}

impl Link {
    /// Connects, and makes sure that the shim is this run's.
    pub(crate) async fn open(dir: &RunDir, assignment: &Assignment) -> io::Result<Self> {
        let (dir, path) = dir.socket()?;
        let (answers, questions) = UnixStream::connect(path).await?.into_split();
        let question = Question {
            version: VERSION,
            run: assignment.run,
            epoch: assignment.epoch,
            nonce: assignment.nonce.clone(),
            ask: Ask::Hello,
        };
        let mut link = Self { answers: BufReader::new(answers).lines(), questions, question, _dir: dir };
        link.exchange(Ask::Hello).await?;
        Ok(link)
    }

    async fn exchange(&mut self, ask: Ask) -> io::Result<()> {
        self.question.ask = ask;
        let mut line = serde_json::to_vec(&self.question)?;
        line.push(b'\n');
        let asked = async {
            self.questions.write_all(&line).await?;
            let line = self.answers.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok::<Answer, io::Error>(serde_json::from_str(&line)?)
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await??;
        match answer.error {
            Some(error) => Err(io::Error::other(error)),
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl ShimLink for Link {
    async fn ask(&mut self, ask: Ask) -> io::Result<()> {
        self.exchange(ask).await
    }

    async fn closed(&mut self) {
        while let Ok(Some(_)) = self.answers.next_line().await {}
    }
}
