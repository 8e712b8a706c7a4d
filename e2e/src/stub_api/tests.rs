use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::{Credential, SeenRequest, StubApi, parse_script};

/// Sends one request on a fresh connection and returns the whole answer as text.
fn ask(stub: &StubApi, stream: bool) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(stub.addr)?;
    let body = format!(r#"{{"model":"m","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    write!(
        socket,
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: stub\r\nx-api-key: k\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

async fn start(script: &str) -> StubApi {
    StubApi::start((Ipv4Addr::LOCALHOST, 0).into(), parse_script(script).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_advances_and_its_last_behaviour_repeats() {
    let stub = start("529,ok:done+now").await;
    assert!(ask(&stub, true).unwrap().starts_with("HTTP/1.1 529"));
    for stream in [true, false] {
        let answer = ask(&stub, stream).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("event: message_stop"), stream);
    }
    let seen = |behaviour: &str, stream| SeenRequest {
        behaviour: behaviour.into(),
        model: "m".into(),
        stream,
        messages: 1,
        tools: 0,
        credential: Credential::Key,
    };
    assert_eq!(stub.requests(), [seen("529", true), seen("ok:done+now", true), seen("ok:done+now", false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usage_limit_names_its_window_and_reset() {
    let stub = start("429_unified:60:seven_day").await;
    let answer = ask(&stub, true).unwrap();
    for header in
        ["unified-representative-claim: seven_day", "unified-7d-status: rejected", "retry-after: 60"]
    {
        assert!(answer.contains(header), "{header} is missing in {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_a_reset() {
    let stub = start("reset").await;
    assert_eq!(ask(&stub, true).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
