//! The pages as a browser gets them, with hostile facts in the database.

use super::*;

const PAGE: &str = "Accept: text/html,application/xhtml+xml\r\n";

fn hostile(work_item: &str) -> NewJob {
    NewJob {
        project: "<img src=x>".to_owned(),
        work_item: work_item.to_owned(),
        stage: "review".to_owned(),
        role: "reviewer".to_owned(),
        priority: 0,
        available_at: Timestamp::from_ms(NOW_MS),
        semantic_key: None,
        payload: Payload { facts: BTreeMap::new(), ..Payload::default() },
        trace_context: None,
        origin: Origin::default(),
        about: About::default(),
    }
}

#[tokio::test]
async fn the_overview_shows_what_waits_and_no_text_from_outside_is_markup() {
    let console = Console::start(None, None).await;
    let (status, page) = console.ask("/", PAGE).await;
    assert_eq!((status, page.contains("the database")), (503, true), "{page}");

    let store = console.with_database().await;
    let empty = console.ask("/", PAGE).await.1;
    assert!(empty.contains("No job was ever made"), "{empty}");
    store.enqueue(hostile("\"><script>alert(1)</script>"), Timestamp::from_ms(NOW_MS)).await.unwrap();
    for path in ["/", "/jobs/1"] {
        let (status, page) = console.ask(path, PAGE).await;
        assert_eq!(status, 200);
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    }
    let (status, page) = console.ask("/jobs/7", PAGE).await;
    assert_eq!((status, page.contains("there is no job 7")), (404, true));
    store.close().await;
    console.stop().await;
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let console = Console::start(None, None).await;
    for path in ["/", "/queue", "/assets/console.js", "/nothing"] {
        let (head, _) = console.whole("GET", path, "", "").await;
        assert!(
            head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{path}: {head}"
        );
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
    }
    let (head, _) = console.whole("GET", "/assets/console.css", "", "").await;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (head, body) =
        console.whole("GET", "/assets/console.css", &format!("If-None-Match: {tag}\r\n"), "").await;
    assert_eq!((head.contains(" 304 "), body.as_str()), (true, ""));
    console.stop().await;
}

#[tokio::test]
async fn listeners_hear_of_every_new_state_once() {
    let console = Console::start(None, None).await;
    let store = console.with_database().await;
    let mut events = console.listen("").await;
    let first = events.next_event().await;
    assert_eq!(first.0, "queue");
    store.enqueue(hostile("SHOP-1"), Timestamp::from_ms(NOW_MS)).await.unwrap();
    let second = events.next_event().await;
    let queue: Value = serde_json::from_str(&second.2).unwrap();
    assert_eq!((second.0.as_str(), &queue["counts"]["queued"]), ("queue", &json!(1)));
    drop(events);

    // Who has seen this state is told of the next one alone.
    let mut again = console.listen(&format!("Last-Event-ID: {}\r\n", second.1)).await;
    store.enqueue(hostile("SHOP-2"), Timestamp::from_ms(NOW_MS)).await.unwrap();
    let third: Value = serde_json::from_str(&again.next_event().await.2).unwrap();
    assert_eq!(third["counts"]["queued"], json!(2));
    store.close().await;
    console.stop().await;
}

/// A stream of server-sent events.
struct Listener {
    stream: TcpStream,
    unread: String,
}

impl Console {
    async fn listen(&self, header: &str) -> Listener {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("GET /events HTTP/1.0\r\nHost: {}\r\n{header}\r\n", self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        Listener { stream, unread: String::new() }
    }
}

impl Listener {
    /// The next event's name, id and data.
    async fn next_event(&mut self) -> (String, String, String) {
        let read = async {
            loop {
                if let Some((event, rest)) = self.unread.clone().split_once("\n\n")
                    && let Some(name) = field(event, "event: ")
                {
                    rest.clone_into(&mut self.unread);
                    return (name, field(event, "id: ").unwrap_or_default(), field(event, "data: ").unwrap());
                }
                let mut piece = [0; 4096];
                let length = self.stream.read(&mut piece).await.unwrap();
                assert!(length > 0, "the stream ended: {}", self.unread);
                self.unread.push_str(std::str::from_utf8(&piece[..length]).unwrap());
            }
        };
        tokio::time::timeout(SOON, read).await.expect("an event")
    }
}

fn field(event: &str, name: &str) -> Option<String> {
    event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}
