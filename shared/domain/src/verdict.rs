//! What an agent's final message says of the work: pass, fail, or nothing that can be relied on.
//!
//! Strict on purpose (DESIGN.md section 10): exactly one block, at the very end, of a fixed shape. Whatever else a message
//! holds, praise, doubts, quotations of its own instructions, it is [`Verdict::Unreadable`] and never a pass.

mod quoting;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::outcome::RESULT_TEXT_BYTES_MAX;
use crate::text;

/// What every prompt that asks for a verdict says of its form; what [`read`] takes is exactly this.
pub const INSTRUCTIONS: &str = include_str!("verdict/instructions.md");

/// The longest summary kept, in bytes.
pub const SUMMARY_BYTES_MAX: usize = 2 * 1024;
/// The most findings kept; a list that is longer is not read.
pub const FINDINGS_MAX: usize = 100;
/// The longest finding kept, in bytes.
pub const FINDING_BYTES_MAX: usize = 1024;

/// What an agent's final message says of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The work is good.
    Pass(Report),
    /// The work is not good; the findings say why.
    Fail(Report),
    /// The message says neither in the form that was asked for.
    Unreadable(Unreadable),
}

/// The words beside a verdict, cleaned and bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// What was done and found, in a few sentences; never empty.
    pub summary: String,
    /// What stands in the way of a pass, or remarks beside one.
    pub findings: Vec<String>,
    /// The commit that was judged or made, a whole object id.
    pub head: Option<String>,
}

/// Why a message is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Unreadable {
    /// There is no message.
    #[error("there is no final message")]
    Empty,
    /// The message was too long to be kept whole, so that its end is not known.
    #[error("the final message is longer than {RESULT_TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// It does not end with a fenced block.
    #[error("the final message does not end with a verdict block")]
    NoBlock,
    /// The block at its end is not opened by a line of three backticks and `json`.
    #[error("the block at the end of the final message is not marked as json")]
    NotJson,
    /// Something else in the message looks like a verdict too.
    #[error("the final message holds more than one verdict")]
    Several,
    /// The block stands within another one: it is quoted, not said.
    #[error("the verdict block stands within another block")]
    Quoted,
    /// The block is no JSON object of the shape that was asked for.
    #[error("the verdict block has another shape")]
    Shape,
    /// The verdict names another commit than the one that was to be judged.
    #[error("the verdict is about another commit")]
    OtherHead,
}

/// The block, to the letter: no other keys, none twice, `pass` and `fail` in lower case alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    verdict: Word,
    summary: String,
    #[serde(default)]
    findings: Vec<String>,
    #[serde(default)]
    head: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Pass,
    Fail,
}

impl Verdict {
    /// The verdict's word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// Reads the final message of a run.
    pub fn of(outcome: &Outcome) -> Self {
        read(final_message(outcome))
    }

    /// Binds the verdict of a stage that judges to the commit it was to judge: about any other it is none.
    #[must_use]
    pub fn bound_to(self, head: Option<&str>) -> Self {
        match &self {
            Self::Pass(report) | Self::Fail(report) => match (head, report.head.as_deref()) {
                (Some(asked), Some(judged)) if asked != judged => Self::Unreadable(Unreadable::OtherHead),
                (Some(_) | None, _) => self,
            },
            Self::Unreadable(_) => self,
        }
    }
}

/// The text of a run's last `result` event; empty when there was none.
pub fn final_message(outcome: &Outcome) -> &str {
    outcome.report.result.as_ref().map_or("", |result| result.text.as_str())
}

/// Reads a final message.
pub fn read(message: &str) -> Verdict {
    match parts_of(message).and_then(|parts| Ok((parse(&parts.block)?, parts.says_fail_before))) {
        Ok(((Word::Pass, _), true)) => Verdict::Unreadable(Unreadable::Several),
        Ok(((Word::Pass, report), false)) => Verdict::Pass(report),
        Ok(((Word::Fail, report), _)) => Verdict::Fail(report),
        Err(unreadable) => Verdict::Unreadable(unreadable),
    }
}

/// A message that ends with one block.
struct Parts {
    /// The JSON text of the block.
    block: String,
    /// Whether the words before it say, in another form, that the verdict is a fail.
    says_fail_before: bool,
}

fn parts_of(message: &str) -> Result<Parts, Unreadable> {
    if message.trim().is_empty() {
        return Err(Unreadable::Empty);
    }
    // One that was cut is as long as the limit, but for a letter that did not fit.
    if message.len() + char::MAX.len_utf8() > RESULT_TEXT_BYTES_MAX {
        return Err(Unreadable::TooLong);
    }
    let lines: Vec<&str> = message.trim_end().lines().map(str::trim_end).collect();
    let Some((&"```", before_close)) = lines.split_last() else { return Err(Unreadable::NoBlock) };
    let open = before_close
        .iter()
        .rposition(|line| line.trim_start().starts_with("```"))
        .ok_or(Unreadable::NoBlock)?;
    if before_close[open] != "```json" {
        return Err(Unreadable::NotJson);
    }
    let (before, block) = (&before_close[..open], &before_close[open + 1..]);
    if before.iter().any(|line| looks_like_a_verdict(line)) {
        return Err(Unreadable::Several);
    }
    if quoting::is_open_after(before) {
        return Err(Unreadable::Quoted);
    }
    let says_fail_before = before.iter().any(|line| says_fail(line));
    Ok(Parts { block: block.join("\n"), says_fail_before })
}

/// Whether a line outside of the block could be taken for a part of a verdict, quoted or indented as it may be.
fn looks_like_a_verdict(line: &str) -> bool {
    let lower = line.to_lowercase();
    ["```json", "~~~json", "\"verdict\""].iter().any(|sign| lower.contains(sign))
        || (lower.contains("```") && lower.contains("json"))
}

/// Whether a line says `Verdict: FAIL`, however it is written and marked.
fn says_fail(line: &str) -> bool {
    let letters: String = line.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    letters.contains("verdictfail") || letters.contains("verdictisfail")
}

fn parse(block: &str) -> Result<(Word, Report), Unreadable> {
    let block: Block = serde_json::from_str(block).map_err(|_| Unreadable::Shape)?;
    let summary = text::clean(block.summary.trim(), SUMMARY_BYTES_MAX).trim().to_owned();
    if summary.is_empty() || block.findings.len() > FINDINGS_MAX {
        return Err(Unreadable::Shape);
    }
    let findings = block.findings.iter().map(|finding| text::line(finding, FINDING_BYTES_MAX));
    let findings = findings.filter(|finding| !finding.is_empty()).collect();
    let head = block.head.filter(|head| !head.is_empty());
    if head.as_deref().is_some_and(|head| !is_object_id(head)) {
        return Err(Unreadable::Shape);
    }
    Ok((block.verdict, Report { summary, findings, head }))
}

/// Whether this is a whole object id: 40 or 64 lower-case hex digits.
fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
