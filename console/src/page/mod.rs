//! The pages, as pure functions of what was read. Every text from outside is escaped by the template; nothing that an
//! agent printed is ever markup.

pub(crate) mod audit;
pub(crate) mod home;
pub(crate) mod job;
pub(crate) mod login;
pub(crate) mod many;
pub(crate) mod raise;
mod words;

use axum::response::{Html, IntoResponse as _, Response};
use domain::Timestamp;
use http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::access::Role;
use crate::assets;

/// What every page is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The time it is made at.
    pub(crate) now: Timestamp,
    /// What its reader may do; buttons that he may not press are not there.
    pub(crate) role: Role,
    /// Whether there is a session to leave.
    pub(crate) leavable: bool,
}

impl Frame {
    /// Whether buttons are shown.
    pub(crate) fn acts(&self) -> bool {
        self.role == Role::Operator
    }
}

/// A whole page that keeps itself current.
pub(crate) fn live(
    frame: &Frame,
    title: &str,
    controls: &Markup,
    main: &Markup,
    script: Option<&str>,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-now=(frame.now) {
            (head(title))
            body {
                a class="skip" href="#main" { "Skip to the content" }
                header class="top" {
                    a class="brand" href="/" { "Orch" }
                    span class="link" data-link data-state="" role="status" { "not live" }
                    span class="push" {}
                    (controls)
                    a href="/audit" { "Audit" }
                    a href="/queue" { "JSON" }
                    @if frame.leavable {
                        form method="post" action="/logout" { button { "Log out" } }
                    }
                }
                main id="main" { (main) }
                script src=(assets::SCRIPT.url) {}
                @if let Some(url) = script { script src=(url) {} }
            }
        }
    }
}

/// A page that says what went wrong, with a way back.
pub(crate) fn problem(status: StatusCode, what: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head("Orch"))
            body {
                main id="main" {
                    h1 { "Orch" }
                    p class="problem" role="alert" { (what) }
                    p { a href="/" { "Back to the overview" } }
                }
            }
        }
    };
    (status, Html(page.into_string())).into_response()
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) }
            link rel="icon" href=(assets::ICON.url);
            link rel="stylesheet" href=(assets::STYLE.url);
        }
    }
}

/// A part of a page that the script replaces when its source differs.
///
/// `id` is the part's own; the hash leaves out the running words of [`words::when`], which the script counts itself.
fn part(id: &str, class: &str, content: &Markup) -> Markup {
    let source = hex::encode(&Sha256::digest(without_spans(&content.0).as_bytes())[..8]);
    html! {
        section id=(id) class=(class) data-part data-source=(source) aria-labelledby={ (id) "-title" } {
            (PreEscaped(&content.0))
        }
    }
}

/// The markup without the text inside of `time` elements.
fn without_spans(markup: &str) -> String {
    let mut kept = String::with_capacity(markup.len());
    for (index, piece) in markup.split("<time ").enumerate() {
        let after = if index == 0 {
            piece
        } else {
            let (tag, rest) = piece.split_once("</time>").unwrap_or((piece, ""));
            kept.push_str(tag.split_once('>').map_or(tag, |(attributes, _)| attributes));
            rest
        };
        kept.push_str(after);
    }
    kept
}

/// A button that posts, alone in its form; asks first where `confirm` says what.
fn button(action: &str, label: &str, class: &str, confirm: Option<&str>) -> Markup {
    html! {
        form method="post" action=(action) data-confirm=[confirm] { button class=(class) { (label) } }
    }
}

/// Any text as one segment of a path or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_changes_with_its_facts_and_not_with_the_clock() {
        let at = "2026-11-22T06:00:00.000Z";
        let made = |text: &str, now: i64| {
            let now = Timestamp::from_ms(now);
            part(
                "p",
                "panel",
                &html! { (text) " since " (words::elapsed(at, now)) " " (words::when(at, now)) "." },
            )
            .into_string()
        };
        let source = |page: String| page.split_once("data-source=\"").unwrap().1[..16].to_owned();
        let first = source(made("one", 1_795_327_300_000));
        assert_eq!(source(made("one", 1_795_327_399_000)), first);
        assert_ne!(source(made("two", 1_795_327_300_000)), first);
    }
}
