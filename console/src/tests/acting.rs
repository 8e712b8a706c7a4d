//! Logging in, looking, acting: each role with what it may do, and what comes from elsewhere refused.

use super::*;

const OURS: &str = "Sec-Fetch-Site: same-origin\r\nAccept: text/html\r\n";

impl Console {
    /// Sends a form, or nothing.
    async fn post(&self, path: &str, header: &str, body: &str) -> (u16, String, String) {
        let form = format!(
            "{header}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            body.len()
        );
        let (head, body) = self.whole("POST", path, &form, body).await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body)
    }

    /// Logs in and gives the header of the session.
    async fn log_in(&self, token: &str) -> String {
        let (status, head, _) = self.post("/login", OURS, &format!("token={token}&next=%2Fjobs%2F1")).await;
        assert_eq!((status, head.contains("location: /jobs/1")), (303, true), "{head}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
    }
}

#[tokio::test]
async fn a_page_without_a_session_leads_to_the_login_and_back() {
    let console = Console::start(Some("s3cret"), None).await;
    let (head, _) = console.whole("GET", "/jobs/1?run=x", "Accept: text/html\r\n", "").await;
    assert!(head.contains(" 303 ") && head.contains("location: /login?next=%2Fjobs%2F1%3Frun%3Dx"), "{head}");
    assert_eq!(console.ask("/login?next=%22%3E%3Cscript%3E", "").await.0, 200);

    let cookie = console.log_in("s3cret").await;
    // 503: past the door, and there is no database.
    assert_eq!(console.ask("/", &format!("{cookie}Accept: text/html\r\n")).await.0, 503);
    assert_eq!(console.ask("/queue", &cookie).await.0, 503);
    let (status, head, _) = console.post("/logout", &format!("{OURS}{cookie}"), "").await;
    assert_eq!((status, head.contains("orch_session=; ")), (303, true), "{head}");
    console.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_counted_and_then_not_looked_at() {
    let console = Console::start(Some("s3cret"), None).await;
    for _ in 0..10 {
        assert_eq!(console.post("/login", OURS, "token=nope").await.0, 401);
    }
    assert_eq!(console.post("/login", OURS, "token=s3cret").await.0, 429);
    console.stop().await;
}

#[tokio::test]
async fn only_an_operator_on_a_page_of_ours_acts() {
    let tasks = Tasks::new();
    let console = Console::start(Some("s3cret"), Some(stub_scheduler(&tasks).await)).await;
    let (operator, reader) = (console.log_in("s3cret").await, console.log_in("look").await);
    let cases = [
        (format!("{OURS}{operator}"), 303),
        (format!("{OURS}{reader}"), 403),
        (operator.clone(), 403),
        (format!("Sec-Fetch-Site: cross-site\r\n{operator}"), 403),
        ("Authorization: Bearer s3cret\r\n".to_owned(), 200),
        ("Authorization: Bearer look\r\n".to_owned(), 403),
        (String::new(), 401),
    ];
    for (header, expected) in cases {
        let (status, _, body) = console.post("/jobs/7/cancel", &header, "").await;
        assert_eq!(status, expected, "{header}: {body}");
    }
    let (status, _, page) = console.post("/jobs/8/cancel", &format!("{OURS}{operator}"), "").await;
    assert_eq!((status, page.contains("there is no job 8")), (404, true), "{page}");
    let (_, _, json) = console.post("/jobs/7/cancel", "Authorization: Bearer s3cret\r\n", "").await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["job"]["id"], json!(7));

    tasks.stop();
    assert!(tasks.finished(SOON).await);
    let (status, _, page) = console.post("/jobs/7/cancel", &format!("{OURS}{operator}"), "").await;
    assert_eq!((status, page.contains("the scheduler, which alone acts")), (503, true), "{page}");
    console.stop().await;
}
