use std::path::Path;

use super::*;

#[derive(serde::Deserialize)]
struct Case {
    id: String,
    tail: String,
    exit_code: i32,
    class: String,
    reason: String,
    retry_after_s: Option<f64>,
    resets_at: Option<String>,
}

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

#[test]
fn recorded_outcomes_are_judged_as_people_judged_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/claude/outcomes.jsonl");
    let Ok(lines) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let cases: Vec<Case> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a case a line")).collect();
    let (mut classes, mut reasons, mut wrong) = (0_usize, 0_usize, Vec::new());
    for case in &cases {
        let judged = classify(&outcome_of_text(&case.tail, Exit::from_number(case.exit_code), NOW), NOW);
        let class_fits = judged.class.as_str() == case.class;
        let reason_fits = judged.class.reason().as_str() == case.reason;
        classes += usize::from(class_fits);
        reasons += usize::from(class_fits && reason_fits);
        let wait_fits = judged.retry_after_s
            == case.retry_after_s.map(|seconds| Duration::from_secs_f64(seconds).as_secs());
        let reset_fits =
            judged.resets_text == case.resets_at && judged.resets_at.is_some() == case.resets_at.is_some();
        if !(class_fits && reason_fits && wait_fits && reset_fits) {
            wrong.push(format!(
                "{}: {}/{} {:?} {:?} but {judged:?}",
                case.id, case.class, case.reason, case.retry_after_s, case.resets_at
            ));
        }
    }
    eprintln!("{classes} classes, {reasons} reasons of {}\n{}", cases.len(), wrong.join("\n"));
    assert!(wrong.is_empty());
}
