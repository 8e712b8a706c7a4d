use super::*;

fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, value.parse().unwrap())])
}

fn access() -> Access {
    Access::new(Some(Secret::new("s3cret")), Some(Secret::new("look")), Clock::manual(1_000_000)).unwrap()
}

#[test]
fn only_a_whole_token_is_accepted_each_for_its_role() {
    let role = |value: &str| access().asker(&headers(AUTHORIZATION, value)).map(|asker| asker.role);
    assert_eq!(role("Bearer s3cret"), Some(Role::Operator));
    assert_eq!(role("bearer s3cret"), Some(Role::Operator));
    assert_eq!(role("Bearer look"), Some(Role::Reader));
    for value in ["Bearer s3cre", "Bearer s3cret ", "Bearer ", "", "Basic s3cret"] {
        assert_eq!(role(value), None, "{value}");
    }
    assert!(access().asker(&HeaderMap::new()).is_none());
}

#[test]
fn a_session_is_found_among_other_cookies() {
    let value = session::sign(Role::Reader, &Secret::new("look"), 1_000_000);
    let sent = headers(COOKIE, &format!("a=b; {}={value}; c=d", session::COOKIE));
    let asker = access().asker(&sent).unwrap();
    assert_eq!((asker.role, asker.by), (Role::Reader, Credential::Session));
    let forged = headers(COOKIE, &format!("{}=operator.9999999999.00", session::COOKIE));
    assert!(access().asker(&forged).is_none());
}

#[test]
fn what_changes_something_needs_an_operator_and_a_page_of_ours() {
    let may = |role, by, site: Option<&str>| {
        let sent = site.map(|site| headers("sec-fetch-site".parse().unwrap(), site)).unwrap_or_default();
        may_change(Asker { role, by }, &sent).is_ok()
    };
    let (operator, reader) = (Role::Operator, Role::Reader);
    assert!(may(operator, Credential::Session, Some("same-origin")));
    assert!(!may(operator, Credential::Session, Some("cross-site")));
    assert!(!may(operator, Credential::Session, None));
    assert!(may(operator, Credential::Token, None));
    assert!(may(operator, Credential::Loopback, None));
    assert!(!may(operator, Credential::Loopback, Some("cross-site")));
    assert!(!may(reader, Credential::Token, None));
    assert!(!may(reader, Credential::Session, Some("same-origin")));
}

#[test]
fn names_that_are_not_loopback_are_not_answered() {
    let hosts =
        ["localhost:8081", "127.0.0.1", "[::1]:8081", "LOCALHOST", "evil.example:8081", "10.0.0.1", "a b"];
    let answered = hosts.map(|host| asks_loopback(&headers(HOST, host)));
    assert_eq!(answered, [true, true, true, true, false, false, false]);
    assert!(asks_loopback(&HeaderMap::new()));
}

#[test]
fn tokens_that_make_no_sense_are_refused() {
    let (a, b) = (|| Some(Secret::new("a")), || Some(Secret::new("b")));
    let fits = |operator, reader| Access::new(operator, reader, Clock::manual(0)).is_ok();
    assert_eq!(
        [fits(a(), b()), fits(a(), None), fits(None, None), fits(None, b()), fits(a(), a())],
        [true, true, true, false, false]
    );
}
