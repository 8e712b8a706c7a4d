//! Two hundred outputs of agents, each a file: what its folder is called is how it must be read. A `.txt` is a final message, a
//! `.jsonl` all that a program printed. No fail and nothing unreadable ever counts as a pass, changed as it may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::agent_output::Reader;
use domain::delivery::{Payload, Reformat};
use domain::job::{JobKind, Origin};
use domain::outcome::{EndedBy, Exit};
use domain::pipeline::Pipeline;
use domain::verdict::{self, Unreadable, Verdict};
use domain::work_item::step::{JobEnd, Scene, step};
use domain::work_item::{ItemState, WorkItem};
use domain::{Budgets, Epoch, Job, JobId, JobState, Outcome, Timestamp};
use proptest::prelude::*;

/// One output and how it must be read.
#[derive(Debug)]
struct Case {
    name: String,
    /// `pass`, `fail`, or why it is unreadable.
    reading: String,
    text: String,
    is_whole_output: bool,
}

fn corpus() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verdict");
    let mut cases: Vec<Case> = files_below(&root)
        .into_iter()
        .map(|path| {
            let folder =
                path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy().into_owned();
            Case {
                name: path.strip_prefix(&root).expect("below the root").display().to_string(),
                reading: folder,
                text: String::from_utf8(std::fs::read(&path).expect("a file")).expect("text"),
                is_whole_output: path.extension().is_some_and(|kind| kind == "jsonl"),
            }
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The final message, by way of the reader of outputs where there is one.
fn message(case: &Case) -> String {
    if !case.is_whole_output {
        return case.text.clone();
    }
    let mut reader = Reader::new();
    reader.push(case.text.as_bytes());
    reader.finish();
    let outcome = Outcome {
        ended_by: EndedBy::Agent,
        exit: Some(Exit::Code(0)),
        report: reader.into_report(),
        tail: String::new(),
        log_bytes: 0,
        spawned_at: None,
        ended_at: Timestamp::default(),
        steps: Vec::new(),
    };
    verdict::final_message(&outcome).to_owned()
}

/// The folder's name that a reading belongs to.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass(_) | Verdict::Fail(_) => verdict.as_str(),
        Verdict::Unreadable(cause) => match cause {
            Unreadable::Empty => "empty",
            Unreadable::TooLong => "too_long",
            Unreadable::NoBlock => "no_block",
            Unreadable::NotJson => "not_json",
            Unreadable::Several => "several",
            Unreadable::Quoted => "quoted",
            Unreadable::Shape => "shape",
            Unreadable::OtherHead => "other_head",
        },
    }
}

#[test]
fn every_output_is_read_as_its_folder_says() {
    let cases = corpus();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let read = verdict::read(&message(case));
            (word(&read) != case.reading).then(|| format!("{} is read as {}", case.name, word(&read)))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        *count.entry(&case.reading).or_default() += 1;
    }
    let of = |readings: &[&str]| {
        readings.iter().map(|reading| count.get(reading).copied().unwrap_or(0)).sum::<usize>()
    };
    let unreadable = ["empty", "too_long", "no_block", "not_json", "several", "quoted", "shape"];
    assert!(of(&unreadable) >= 150 && of(&["pass"]) >= 15 && of(&["fail"]) >= 8, "{count:?}");
    assert_eq!(of(&unreadable) + of(&["pass", "fail"]), cases.len(), "a folder is no reading: {count:?}");
}

/// What becomes of an item in review whose reviewer printed this, at the first try and when asked for the form alone.
fn next_stages(message: &str) -> [Option<String>; 2] {
    let pipeline = Pipeline::default();
    let reformat = Payload { reformat: Some(Reformat::of("the review")), ..Payload::default() };
    [(JobKind::Stage, Payload::default()), (JobKind::Reformat, reformat)].map(|(kind, payload)| {
        let now = Timestamp::default();
        let job = Job {
            id: JobId(7),
            project: "shop".into(),
            work_item: "SHOP-1".into(),
            stage: "review".into(),
            role: "reviewer".into(),
            priority: 0,
            budgets: Budgets::default(),
            epoch: Epoch(1),
            revision: 1,
            state: JobState::Queued { available_at: now },
            created_at: now,
            updated_at: now,
            trace_context: None,
            origin: Origin { kind, ..Origin::default() },
        };
        let item = WorkItem {
            project: "shop".into(),
            key: "SHOP-1".into(),
            title: None,
            stage: "review".into(),
            state: ItemState::Active,
            head: None,
            bounces: BTreeMap::new(),
            hops: 0,
            standing: domain::work_item::Standing::Trusted,
            ended_because: None,
            chain: String::new(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let scene = Scene { item: &item, job: &job, payload: &payload, pipeline: &pipeline, now };
        let end = JobEnd::Done { verdict: verdict::read(message), message, steps: &[] };
        step(&scene, end).next.map(|next| next.stage)
    })
}

#[test]
fn an_item_goes_on_after_a_pass_alone() {
    for case in corpus() {
        let text = message(&case);
        let expected = match case.reading.as_str() {
            "pass" => [Some("testing"), Some("testing")],
            "fail" => [Some("development"), Some("development")],
            // Asked once for the form, then a person.
            _ => [Some("review"), None],
        };
        assert_eq!(
            next_stages(&text).map(Option::unwrap_or_default),
            expected.map(Option::unwrap_or_default),
            "{}",
            case.name
        );
    }
}

/// What every pass has, by another way of looking than the reader's: one marked block at the very end, that says pass and
/// nothing else, and no word of a verdict outside of it.
fn has_all_of_a_pass(message: &str) -> bool {
    let text = message.replace("\r\n", "\n");
    let lines: Vec<&str> = text.trim_end().split('\n').map(str::trim_end).collect();
    let opens: Vec<usize> = (0..lines.len()).filter(|at| lines[*at] == "```json").collect();
    let ([open], Some(&"```")) = (opens.as_slice(), lines.last()) else { return false };
    let block = lines[open + 1..lines.len() - 1].join("\n");
    let outside = lines[..*open].join("\n").to_lowercase();
    let said = serde_json::from_str::<serde_json::Value>(&block).unwrap_or_default();
    said["verdict"] == "pass"
        && said["summary"].as_str().is_some_and(|summary| !summary.trim().is_empty())
        && said.as_object().is_some_and(|keys| {
            keys.keys().all(|key| ["verdict", "summary", "findings", "head"].contains(&key.as_str()))
        })
        && !block.lines().any(|line| line.trim_start().starts_with("```"))
        && !outside.contains("\"verdict\"")
        && !outside.contains("verdict: fail")
        && !outside.contains("```json")
}

/// A change that an agent's output, or whoever talks an agent into one, could bring about.
#[derive(Clone, Debug)]
enum Change {
    /// A piece is put in, at this share of the text.
    Insert(usize, &'static str),
    /// So many letters go.
    Remove(usize, usize),
    /// A letter is replaced.
    Replace(usize, char),
    /// A line goes, is doubled, or moves to another place.
    DropLine(usize),
    DoubleLine(usize),
    MoveLine(usize, usize),
    /// Every line begins with this.
    Prefix(&'static str),
    Upper,
    Lower,
    Crlf,
    /// Another output of the corpus stands before or after.
    Before(usize),
    After(usize),
}

const PIECES: &[&str] = &[
    "```",
    "```json",
    "```json\n",
    "\n```",
    "~~~",
    "\n",
    "\r",
    "\t",
    " ",
    "> ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ",",
    ":",
    "//",
    "/*",
    "*/",
    "<!--",
    "-->",
    "<pre>",
    "</pre>",
    "\\u0070",
    "\u{200b}",
    "\u{202e}",
    "\u{feff}",
    "\0",
    "\u{1b}[2K",
    "pass",
    "fail",
    "PASS",
    "not ",
    "\"verdict\"",
    "\"verdict\":\"pass\",",
    "\"verdict\":\"fail\",",
    "Verdict: fail",
    "раss",
    "\u{2028}",
    "````",
];

fn change(corpus_len: usize) -> impl Strategy<Value = Change> {
    let place = any::<usize>;
    prop_oneof![
        4 => (place(), proptest::sample::select(PIECES)).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (place(), 1_usize..12).prop_map(|(at, letters)| Change::Remove(at, letters)),
        2 => (place(), any::<char>()).prop_map(|(at, letter)| Change::Replace(at, letter)),
        2 => place().prop_map(Change::DropLine),
        1 => place().prop_map(Change::DoubleLine),
        1 => (place(), place()).prop_map(|(from, to)| Change::MoveLine(from, to)),
        1 => proptest::sample::select(vec!["> ", "    ", "\t", "- ", "// ", "+"]).prop_map(Change::Prefix),
        1 => Just(Change::Upper),
        1 => Just(Change::Lower),
        1 => Just(Change::Crlf),
        1 => (0..corpus_len).prop_map(Change::Before),
        1 => (0..corpus_len).prop_map(Change::After),
    ]
}

fn changed(text: &str, change: &Change, corpus: &[Case]) -> String {
    let letters: Vec<char> = text.chars().collect();
    let at = |place: usize| place % (letters.len() + 1);
    let mut lines: Vec<&str> = text.split('\n').collect();
    let row = |place: usize, lines: &[&str]| place % lines.len().max(1);
    match change {
        Change::Insert(place, piece) => letters[..at(*place)]
            .iter()
            .chain(&piece.chars().collect::<Vec<_>>())
            .chain(&letters[at(*place)..])
            .collect(),
        Change::Remove(place, count) => {
            let (from, to) = (at(*place), (at(*place) + count).min(letters.len()));
            letters[..from].iter().chain(&letters[to..]).collect()
        }
        Change::Replace(place, letter) => {
            let mut letters = letters.clone();
            if let Some(found) = letters.get_mut(at(*place)) {
                *found = *letter;
            }
            letters.into_iter().collect()
        }
        Change::DropLine(place) => {
            lines.remove(row(*place, &lines));
            lines.join("\n")
        }
        Change::DoubleLine(place) => {
            let row = row(*place, &lines);
            lines.insert(row, lines[row]);
            lines.join("\n")
        }
        Change::MoveLine(from, to) => {
            let line = lines.remove(row(*from, &lines));
            lines.insert(to % (lines.len() + 1), line);
            lines.join("\n")
        }
        Change::Prefix(prefix) => {
            lines.iter().map(|line| format!("{prefix}{line}")).collect::<Vec<_>>().join("\n")
        }
        Change::Upper => text.to_uppercase(),
        Change::Lower => text.to_lowercase(),
        Change::Crlf => text.replace('\n', "\r\n"),
        Change::Before(other) => format!("{}\n{text}", message(&corpus[*other])),
        Change::After(other) => format!("{text}\n{}", message(&corpus[*other])),
    }
}

/// Those that are short enough to be changed often.
fn short() -> Vec<Case> {
    corpus().into_iter().filter(|case| case.text.len() < 8 * 1024).collect()
}

#[test]
fn the_other_way_of_looking_finds_every_pass_and_no_fail() {
    for case in corpus() {
        let text = message(&case);
        match case.reading.as_str() {
            "pass" => assert!(has_all_of_a_pass(&text), "{}", case.name),
            "fail" => assert!(!has_all_of_a_pass(&text), "{}", case.name),
            _ => {}
        }
    }
}

#[test]
fn what_is_changed_at_random_passes_only_where_it_says_so_in_full() {
    let corpus = short();
    let cases = (0..corpus.len(), proptest::collection::vec(change(corpus.len()), 1..6));
    let config = ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((at, changes) in cases)| {
        let text = changes.iter().fold(message(&corpus[at]), |text, change| changed(&text, change, &corpus));
        if matches!(verdict::read(&text), Verdict::Pass(_)) {
            prop_assert!(has_all_of_a_pass(&text), "{} became {text:?} by {changes:?}", corpus[at].name);
        }
    });
}

#[test]
fn a_fail_or_unreadable_at_the_end_is_never_made_a_pass_by_words_before_it() {
    let corpus = short();
    let rest: Vec<&Case> =
        corpus.iter().filter(|case| !["pass", "empty"].contains(&case.reading.as_str())).collect();
    let config = ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(at in 0..rest.len(), other in 0..corpus.len(), words in "[^`~<>]{0,80}")| {
        let said = message(rest[at]);
        for before in [words, message(&corpus[other])] {
            // A block that lacks its first line alone would be made whole by what brings that line.
            if before.contains('`') && !said.contains("```json") {
                continue;
            }
            let text = format!("{before}\n{said}");
            prop_assert!(!matches!(verdict::read(&text), Verdict::Pass(_)) || has_closed(&before, rest[at]), "{text:?}");
        }
    });
}

/// Whether the words before close what the unreadable message opened, so that it is quoted no more.
fn has_closed(before: &str, case: &Case) -> bool {
    case.reading == "quoted" && (before.contains("```") || before.contains("~~~") || before.contains('<'))
}
