//! The bound of the log path: one process that streams a file in chunks over gRPC, with nothing else around it, and one that
//! writes what comes into another file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;

use anyhow::ensure;
use domain::log::CHUNK_BYTES_MAX;
use futures::{Stream, stream};
use proto::v1::runner_service_client::RunnerServiceClient;
use proto::v1::runner_service_server::{RunnerService, RunnerServiceServer};
use proto::v1::watch_frame::Frame;
use proto::v1::{
    AckReply, AckRequest, CancelReply, CancelRequest, DrainReply, DrainRequest, InfoReply, InfoRequest,
    LaunchReply, LaunchRequest, ListReply, ListRequest, LogChunk, WatchFrame, WatchRequest,
};
use service::net::Listener;
use service::server::{self, Limits};
use service::settings::TlsSettings;
use service::{Tasks, grpc};
use tokio::process::Command;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::bare::monotonic_ns;
use crate::logs::{address, megabytes};

/// Streams `text` from a file to a file; the rate in MB/s.
pub(crate) async fn rate(place: &Path, text: &str) -> anyhow::Result<f64> {
    let (from, to) = (place.join("from"), place.join("to"));
    std::fs::write(&from, text)?;
    let mut part = Command::new(std::env::current_exe()?)
        .arg("bare-log")
        .arg(&from)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let url = format!("http://{}", address(&mut part).await?);
    let mut runner = RunnerServiceClient::new(grpc::channel(&url, &TlsSettings::default())?);
    let begun = monotonic_ns();
    let mut frames = runner.watch(WatchRequest::default()).await?.into_inner();
    let (mut file, mut bytes) = (File::create(&to)?, 0);
    while let Some(frame) = frames.message().await? {
        if let Some(Frame::Chunk(chunk)) = frame.frame {
            file.write_all(&chunk.data)?;
            bytes += chunk.data.len();
        }
    }
    let ended = monotonic_ns();
    ensure!(bytes == text.len(), "{bytes} bytes came of {}", text.len());
    part.kill().await?;
    std::fs::remove_file(from)?;
    std::fs::remove_file(to)?;
    Ok(megabytes(bytes, begun, ended))
}

/// Serves a file; prints its address.
pub(crate) async fn serve(file: PathBuf) -> anyhow::Result<()> {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    println!("{}", listener.local_addr()?);
    let app = Routes::new(RunnerServiceServer::new(OneFile(file))).into_axum_router();
    server::serve(listener, app, Limits::default(), None, &Tasks::new()).await;
    Ok(())
}

#[derive(Debug)]
struct OneFile(PathBuf);

fn nothing_else<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("it streams a file"))
}

#[tonic::async_trait]
impl RunnerService for OneFile {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let file = File::open(&self.0)?;
        let chunks = stream::unfold((file, 0), |(mut file, offset)| async move {
            let mut data = vec![0; CHUNK_BYTES_MAX];
            let length = file.read(&mut data).unwrap_or(0);
            data.truncate(length);
            let frame = WatchFrame { frame: Some(Frame::Chunk(LogChunk { offset, data: data.into() })) };
            (length > 0).then(|| (Ok(frame), (file, offset + length as u64)))
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn launch(&self, _: Request<LaunchRequest>) -> Result<Response<LaunchReply>, Status> {
        nothing_else()
    }

    async fn ack(&self, _: Request<AckRequest>) -> Result<Response<AckReply>, Status> {
        nothing_else()
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        nothing_else()
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        nothing_else()
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        nothing_else()
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoReply>, Status> {
        nothing_else()
    }
}
