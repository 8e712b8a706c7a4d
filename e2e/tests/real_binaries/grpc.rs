//! The admin interface as a stranger uses it: a client that knows nothing but the published .proto runs every example of
//! docs/GRPC.md, and every verb has one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut};
use e2e::harness::{Service, until};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::{Value, json};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::shop::{WITHIN, shop};

const SERVICE: &str = "orch.v1.AdminService";
/// Longest answer of one example, the ends of jobs that it follows included.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// The part of `google/rpc` that errors carry, as its publisher words it.
const GOOGLE_RPC: &str = "syntax = \"proto3\"; package google.rpc;
    message Any { string type_url = 1; bytes value = 2; }
    message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
    message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }";
const ORCH_TOML: &str = "[[project]]\nname = \"shop\"\n[[stage]]\nname = \"sketch\"\nrole = \"analyst\"\n\
    prompt = \"prompt.md\"\ngate = [\"approval\"]\n";

/// Messages by their descriptor alone.
#[derive(Debug, Clone)]
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item.encode_to_vec());
        Ok(())
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let message = DynamicMessage::decode(self.0.clone(), bytes);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A client made of a file and an address.
struct Stranger {
    pool: DescriptorPool,
    channel: Channel,
}

impl Stranger {
    async fn new(addr: std::net::SocketAddr) -> anyhow::Result<Self> {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
        let files = protox::compile(["orch/v1/admin.proto"], [protos])?;
        let pool = DescriptorPool::from_file_descriptor_set(files)?;
        let channel = Channel::from_shared(format!("http://{addr}"))?.connect().await?;
        Ok(Self { pool, channel })
    }

    fn methods(&self) -> anyhow::Result<Vec<MethodDescriptor>> {
        let service = self.pool.get_service_by_name(SERVICE).context("no service")?;
        Ok(service.methods().collect())
    }

    /// Calls a verb with JSON; gives the messages of its answer as JSON.
    async fn call(&self, verb: &str, body: &str) -> anyhow::Result<Result<Vec<Value>, Status>> {
        let method = self.methods()?.into_iter().find(|method| method.name() == verb);
        let method = method.with_context(|| format!("{SERVICE} has no verb {verb}"))?;
        let mut reader = serde_json::Deserializer::from_str(body);
        let request = DynamicMessage::deserialize(method.input(), &mut reader)
            .with_context(|| format!("{body} is no {}", method.input().name()))?;
        let path = format!("/{SERVICE}/{verb}").parse()?;
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await?;
        let codec = Dynamic(method.output());
        let answer = async {
            let mut messages =
                client.server_streaming(Request::new(request), path, codec).await?.into_inner();
            let mut all = Vec::new();
            while let Some(message) = messages.message().await? {
                all.push(message);
            }
            Ok(all)
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, answer);
        let answer: Result<Vec<DynamicMessage>, Status> =
            answer.await.with_context(|| format!("{verb} took longer than {ANSWER_WITHIN:?}"))?;
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        let shown = |message: DynamicMessage| {
            message
                .serialize_with_options(serde_json::value::Serializer, &options)
                .map_err(anyhow::Error::from)
        };
        match answer {
            Ok(messages) => Ok(Ok(messages.into_iter().map(shown).collect::<Result<_, _>>()?)),
            Err(status) => Ok(Err(status)),
        }
    }
}

/// One call of docs/GRPC.md.
#[derive(Debug)]
struct Example {
    verb: String,
    body: String,
    /// The code it ends with, where that is an error.
    error: Option<String>,
}

fn examples(page: &str) -> anyhow::Result<Vec<Example>> {
    let calls = page.lines().filter(|line| line.starts_with("grpcurl "));
    calls
        .map(|line| {
            let (call, error) = match line.split_once("  # ") {
                Some((call, code)) => (call, Some(code.trim().to_owned())),
                None => (line, None),
            };
            let shape =
                || format!("{line} is not `grpcurl -plaintext -d 'JSON' 127.0.0.1:7070 {SERVICE}/VERB`");
            let rest = call.strip_prefix("grpcurl -plaintext -d '").with_context(shape)?;
            let (body, rest) = rest.split_once("' 127.0.0.1:7070 ").with_context(shape)?;
            let verb = rest.strip_prefix(&format!("{SERVICE}/")).with_context(shape)?;
            Ok(Example { verb: verb.to_owned(), body: body.to_owned(), error })
        })
        .collect()
}

/// The reason, domain and metadata of the `ErrorInfo` in a status.
fn error_info(status: &Status) -> anyhow::Result<(String, String, BTreeMap<String, String>)> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rpc.proto"), GOOGLE_RPC)?;
    let pool = DescriptorPool::from_file_descriptor_set(protox::compile(["rpc.proto"], [folder.path()])?)?;
    let descriptor = |name: &str| pool.get_message_by_name(name).context("a message");
    let whole = DynamicMessage::decode(descriptor("google.rpc.Status")?, status.details())?;
    let whole = serde_json::to_value(&whole)?;
    let details = whole["details"].as_array().context("no details")?;
    let info = details.iter().find(|one| one["typeUrl"] == "type.googleapis.com/google.rpc.ErrorInfo");
    let bytes = info.with_context(|| format!("no ErrorInfo in {whole}"))?["value"].clone();
    let field = descriptor("google.rpc.Any")?;
    let mut any = DynamicMessage::deserialize(field, json!({ "value": bytes }))?;
    let value = any.get_field_by_name("value").context("a value")?.as_bytes().context("bytes")?.clone();
    any.clear_field_by_name("value");
    let info = DynamicMessage::decode(descriptor("google.rpc.ErrorInfo")?, value)?;
    let info = serde_json::to_value(&info)?;
    let metadata = serde_json::from_value(info["metadata"].clone()).unwrap_or_default();
    Ok((info["reason"].as_str().unwrap_or("").into(), info["domain"].as_str().unwrap_or("").into(), metadata))
}

/// A code as documents write it.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[tokio::test]
async fn every_verb_has_an_example_that_works_with_the_published_proto_alone() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/GRPC.md"))?;
    let examples = examples(&page)?;
    let stack = shop().orch_toml(ORCH_TOML).start().await?;
    let stranger = Stranger::new(stack.addr(Service::Scheduler)).await?;
    let node = until("a runner", WITHIN, || async {
        let listed = stack.orch(&["runners"]).await?;
        Ok(listed["runners"][0]["id"].as_str().map(str::to_owned))
    })
    .await?;
    let mut answers: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
    for example in &examples {
        let Example { verb, body, error } = example;
        let answer = stranger.call(verb, &body.replace("NODE", &node)).await?;
        match (answer, error) {
            (Ok(messages), None) => answers.entry(verb.clone()).or_default().push(messages),
            (Err(status), Some(code)) => {
                assert_eq!(name_of(status.code()), *code, "{example:?}: {status}");
                let (reason, domain, metadata) =
                    error_info(&status).with_context(|| format!("{example:?}"))?;
                assert_eq!(
                    (&*reason, &*domain, &*metadata["verb"]),
                    (&**code, "orch.v1", &**verb),
                    "{example:?}"
                );
            }
            (Ok(messages), Some(_)) => bail!("{example:?} works: {messages:?}"),
            (Err(status), None) => bail!("{example:?}: {status}"),
        }
    }
    let verbs: BTreeSet<String> = stranger.methods()?.iter().map(|method| method.name().to_owned()).collect();
    let answered: BTreeSet<String> = answers.keys().cloned().collect();
    let unanswered: Vec<&String> =
        verbs.difference(&answered).filter(|verb| *verb != "ResumeAccount").collect();
    ensure!(unanswered.is_empty(), "docs/GRPC.md has no example that works of {unanswered:?}");

    // What some of them said.
    assert_eq!(answers["ListJobs"][0][0]["jobs"][0]["id"], 2, "the newest first, one on a page");
    assert_eq!(answers["ListJobs"][0][0]["next_page_token"], "2");
    assert_eq!(answers["ListItems"][0][0]["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(answers["ApproveItem"][0][0]["item"]["state"], "done");
    let events = &answers["Watch"][0];
    assert_eq!((&events[0]["kind"], events.len()), (&json!("gap"), 3), "{events:#?}");
    assert_eq!(answers["LoseRunner"][0], [json!({})]);
    assert_eq!(answers["RetryJobs"][0], [json!({"ids": [1]})], "a dry run says which");
    assert_eq!(answers["RetryJobs"][1], [json!({})], "none is cancelled any more");
    assert_eq!(answers["ListLive"][0][0]["stages"][0]["name"], "sketch");
    let acts = answers["ListAudit"][0][0]["entries"].as_array().context("no audit")?;
    let verbs: Vec<&str> = acts.iter().filter_map(|act| act["verb"].as_str()).collect();
    assert_eq!(verbs, ["retry", "cancel", "cancel"], "the newest first: {acts:#?}");
    assert_ne!(acts[1]["result"], "done", "what was refused is kept: {acts:#?}");
    stack.finish().await
}

#[tokio::test]
async fn a_reader_of_events_goes_on_where_it_was() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let stranger = Stranger::new(stack.addr(Service::Scheduler)).await?;
    let first =
        crate::shop::run(&stack, "then=success", "done").await?["job"]["id"].as_i64().context("a job")?;
    // From the beginning of what is kept.
    let told = |after: String, limit: u32, job: i64| {
        let body = json!({"after": after, "limit": limit, "job_id": job}).to_string();
        let stranger = &stranger;
        async move { stranger.call("Watch", &body).await?.map_err(anyhow::Error::from) }
    };
    let kinds = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["kind"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let events = told("before-1".into(), 5, first).await?;
    assert_eq!(events[0]["kind"], "gap");
    let mut seen = kinds(&events[1..]);
    seen.sort();
    assert_eq!(seen, ["job_made", "run_ended", "run_offered", "run_started"], "{events:#?}");
    let ended = events.iter().find(|event| event["kind"] == "run_ended").context("the end")?;
    assert_eq!((&ended["class"], &ended["status"]), (&json!("success"), &json!("done")));

    // From there on, whatever happened meanwhile, each once and in order.
    let last = events[4]["id"].as_str().context("an id")?.to_owned();
    let second =
        crate::shop::run(&stack, "then=success", "done").await?["job"]["id"].as_i64().context("a job")?;
    let next = told(last.clone(), 4, second).await?;
    assert!(!kinds(&next).contains(&"gap".to_owned()), "{next:#?}");
    assert!(next.iter().all(|event| event["job_id"] == second), "{next:#?}");
    let again = told(last, 4, second).await?;
    assert_eq!(next, again, "the same place gives the same events");
    stack.finish().await
}
