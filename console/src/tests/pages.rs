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
        budgets: domain::Budgets::default(),
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

#[tokio::test]
async fn the_overview_says_how_much_is_where_and_what_is_paused() {
    let console = Console::start(None, None).await;
    let store = console.with_database().await;
    let now = Timestamp::from_ms(NOW_MS);
    for item in ["SHOP-1", "SHOP-2"] {
        store.enqueue(hostile(item), now).await.unwrap();
    }
    store.set_part_paused(domain::admission::Part::Project("shop".to_owned()), true, now).await.unwrap();
    let (status, page) = console.ask("/", PAGE).await;
    assert_eq!(status, 200);
    for said in [
        "2 waiting",
        "Nothing of project <strong>shop</strong> starts",
        "action=\"/resume?project=shop\"",
        "The scheduler does not answer",
        "No try has ended",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert_eq!(console.json("/queue").await.1["paused_parts"], json!([{"scope": "project", "name": "shop"}]));
    store.close().await;
    console.stop().await;
}

#[tokio::test]
async fn a_job_stands_with_its_causes_its_effects_and_what_people_did() {
    let console = Console::start(None, None).await;
    let store = console.with_database().await;
    let now = Timestamp::from_ms(NOW_MS);
    let first = store.enqueue(hostile("SHOP-1"), now).await.unwrap().job;
    let origin = Origin { parent: Some(first), ..Origin::default() };
    let second = store.enqueue(NewJob { origin, ..hostile("SHOP-1") }, now).await.unwrap().job;
    let origin = Origin { parent: Some(second), ..Origin::default() };
    store.enqueue(NewJob { origin, ..hostile("SHOP-1") }, now).await.unwrap();
    let act = store::Act {
        id: 0,
        at: now,
        actor: store::Actor {
            by: "<script>ada</script>".to_owned(),
            via: "cli".to_owned(),
            origin: Some("10.1.2.3".to_owned()),
        },
        verb: "cancel".to_owned(),
        subject: second.to_string(),
        project: None,
        work_item: None,
        note: None,
        result: "it is <b>done</b> already".to_owned(),
    };
    store.note_act(act).await.unwrap();
    let page = console.ask("/jobs/2", PAGE).await.1;
    for said in [
        "#1 SHOP-1",
        "#2 this job",
        "#3 SHOP-1",
        "&lt;script&gt;ada&lt;/script&gt; (cli): cancel, refused: it is &lt;b&gt;",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let audit = console.ask("/audit", PAGE).await.1;
    assert!(audit.contains("cli 10.1.2.3") && audit.contains("href=\"/jobs/2\""), "{audit}");
    assert!(!page.contains("<script>ada") && !audit.contains("<script>ada"));
    assert!(console.ask("/audit?before=1", PAGE).await.1.contains("Nobody did anything yet"));
    store.close().await;
    console.stop().await;
}

#[tokio::test]
async fn who_retries_many_sees_first_why_it_cannot_be() {
    let console = Console::start(None, None).await;
    let form = console.ask("/requeue", PAGE).await.1;
    assert!(form.contains("name=\"reason\"") && !form.contains("id=\"found\""), "{form}");
    let asked = console.ask("/requeue?status=failed&project=%22%3E%3Cb%3E", PAGE).await.1;
    assert!(asked.contains("the scheduler, which alone acts, could not be asked"), "{asked}");
    assert!(asked.contains("value=\"&quot;&gt;&lt;b&gt;\""), "{asked}");
    assert!(!asked.contains("method=\"post\""), "nothing to press where nothing was found");
    console.stop().await;
}
