//! Hands the forge's credential to one call of git, on its demand and by a socket that only the call's processes have open: it is
//! in no argument, environment, file or pipe, where whoever may look at a process of the same user could read it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;

use command_fds::CommandFdExt as _;
use command_fds::FdMapping;
use service::settings::Secret;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

/// The descriptor that git and its programs inherit.
const DESCRIPTOR: i32 = 3;
/// What answers git's question for a credential. Only commands that the shell itself has: their words are no process's arguments.
pub(super) const HELPER: &str = "!f() { test \"$1\" = get || exit 0; echo get >&3 && IFS= read -r user <&3 && \
     IFS= read -r password <&3 && printf 'username=%s\\npassword=%s\\n' \"$user\" \"$password\"; }; f";
/// How often one call may ask: once for each address, and again when it was refused.
const ASKS_MAX: usize = 16;

/// Who the forge knows us as.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// The runner's end of the socket.
#[derive(Debug)]
pub(super) struct Answers {
    socket: UnixStream,
    reply: Secret,
}

impl Credential {
    /// Gives the other end of a socket to `command`, and to nothing else.
    pub(super) fn lend(&self, command: &mut Command) -> io::Result<Answers> {
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        let mapping = FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: DESCRIPTOR };
        command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
        let reply = Secret::new(format!("{}\n{}\n", self.user, self.password.expose()));
        Ok(Answers { socket: UnixStream::from_std(ours)?, reply })
    }
}

impl Answers {
    /// Answers as long as a call goes on, and gives its end.
    pub(super) async fn during<T>(self, call: impl Future<Output = T>) -> T {
        tokio::pin!(call);
        tokio::select! {
            biased;
            ended = &mut call => ended,
            () = self.give() => call.await,
        }
    }

    async fn give(mut self) {
        let (asked, mut answer) = self.socket.split();
        let mut asked = BufReader::new(asked).lines();
        for _ in 0..ASKS_MAX {
            let Ok(Some(_)) = asked.next_line().await else { return };
            if answer.write_all(self.reply.expose().as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
