//! The listener against real sockets: what it grants, and what it cuts.

mod bodies;
mod grpc;
mod limits;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Limits, Proxies, serve};
use crate::tasks::Tasks;
use crate::tls::Acceptor;

/// What nothing here should ever need.
const DEADLINE: Duration = Duration::from_secs(10);
/// A limit that is to be hit.
const SHORT: Duration = Duration::from_millis(100);

struct Running {
    addr: SocketAddr,
    tasks: Tasks,
}

async fn start(app: Router, limits: Limits, tls: Option<Acceptor>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    let serving = tasks.clone();
    tasks.spawn("server", async move { serve(listener, app, limits, tls, &serving).await });
    Running { addr, tasks }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Connects from the loopback address 127.0.0.`host`.
    async fn connect_from(&self, host: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, host], 0).into()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    /// Sends bytes on a connection of their own and reads until the server closes it.
    async fn exchange(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        read_to_close(&mut stream).await
    }

    async fn stop(self) {
        self.tasks.stop();
        assert!(self.tasks.finished(DEADLINE).await, "the server stops");
    }
}

async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is one way of closing.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer whose body ends with `end`, and leaves the connection open.
async fn read_answer(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "the answer is complete");
            bytes.push(byte[0]);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("an answer");
    String::from_utf8(bytes).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("no status")
}
