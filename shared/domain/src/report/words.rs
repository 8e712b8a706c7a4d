//! The words of a comment, for both sides. Orch's own sentences stand free; whatever an agent or a person said is cleaned,
//! bounded, freed of secrets, and stands where no reader takes it for markup, a mention or a reference.

use std::fmt::Write as _;

use crate::text;

/// The longest summary shown, in bytes.
const SAID_BYTES_MAX: usize = 3 * 1024;
/// The most findings shown, and the longest, in bytes.
const FINDINGS_MAX: usize = 20;
const FINDING_BYTES_MAX: usize = 500;
/// The longest of Orch's own sentences, in bytes: it may hold an error's words.
const SENTENCE_BYTES_MAX: usize = 600;

/// A comment before it has a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// What it is about, such as a stage.
    pub(super) subject: String,
    /// What became of it; goes on from the subject.
    pub(super) sentence: String,
    /// What was said.
    pub(super) said: String,
    /// The findings.
    pub(super) findings: Vec<String>,
    /// What a reader may look at: words and address.
    pub(super) link: Option<(String, String)>,
}

impl Words {
    /// Cleaned, bounded, and without `secrets`.
    pub(super) fn fit(self, secrets: &[&str]) -> Self {
        let fit = |said: &str, bytes_max| text::clean(&without(said.trim(), secrets), bytes_max);
        let hidden = self.findings.len().saturating_sub(FINDINGS_MAX);
        let mut findings: Vec<String> = self
            .findings
            .iter()
            .take(FINDINGS_MAX)
            .map(|finding| text::line(&without(finding, secrets), FINDING_BYTES_MAX))
            .collect();
        if hidden > 0 {
            findings.push(format!("… and {hidden} more"));
        }
        Self {
            subject: sentence(&self.subject, secrets),
            sentence: sentence(&self.sentence, secrets),
            said: fit(&self.said, SAID_BYTES_MAX),
            findings,
            link: self.link,
        }
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut body = format!("**{}** {}", self.subject, self.sentence);
        // Writing to a string does not fail.
        if let Some((words, url)) = &self.link {
            let _ = write!(body, " ([{words}](<{url}>))");
        }
        let mut said = self.said.clone();
        for finding in &self.findings {
            let _ = write!(said, "{}- {finding}", if said.is_empty() { "" } else { "\n" });
        }
        if !said.is_empty() {
            let fence = fence(&said);
            let _ = write!(body, "\n\n{fence}text\n{said}\n{fence}");
        }
        body
    }

    /// As HTML.
    pub(super) fn html(&self) -> String {
        let mut html = format!("<p><strong>{}</strong> {}", escape(&self.subject), escape(&self.sentence));
        if let Some((words, url)) = &self.link {
            let _ = write!(html, " (<a href=\"{}\">{}</a>)", escape(url), escape(words));
        }
        html.push_str("</p>");
        if !self.said.is_empty() {
            let lines: Vec<String> = self.said.lines().map(escape).collect();
            let _ = write!(html, "<blockquote><p>{}</p></blockquote>", lines.join("<br>"));
        }
        if !self.findings.is_empty() {
            let items: Vec<String> =
                self.findings.iter().map(|finding| format!("<li><p>{}</p></li>", escape(finding))).collect();
            let _ = write!(html, "<ul>{}</ul>", items.concat());
        }
        html
    }
}

/// One line without secrets, and without what makes markup, mentions or references in Markdown.
pub(super) fn sentence(said: &str, secrets: &[&str]) -> String {
    let plain = |letter: char| {
        let fits = letter.is_alphanumeric() || " .,:;()'\"/_-=+%`…?".contains(letter);
        if fits { letter } else { ' ' }
    };
    let kept: String = without(said, secrets).chars().map(plain).collect();
    text::line(&kept, SENTENCE_BYTES_MAX)
}

/// Without any of the secrets.
pub(super) fn without(said: &str, secrets: &[&str]) -> String {
    let known = secrets.iter().filter(|secret| !secret.is_empty());
    known.fold(said.to_owned(), |said, secret| said.replace(secret, "[secret]"))
}

/// A fence that is not in the text.
fn fence(said: &str) -> String {
    let longest = said.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

fn escape(said: &str) -> String {
    let mut escaped = String::with_capacity(said.len());
    for letter in said.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
