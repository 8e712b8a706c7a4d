//! What is wrong with the templates beside an `orch.toml`, before any job needs them: files, syntax, names that no prompt has.
//!
//! A template is held against the very values that prompts are written from, so that nothing is said twice here.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use domain::job::{Budgets, JobState, Origin};
use domain::pipeline::remedy;
use domain::{Epoch, JobId, Timestamp};
use minijinja::value::{Object, ValueKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};

use super::{Context, Job, Payload, Pipeline, Prompt, Prompts, Stage, StageResult, Uuid, Value, environment};

/// Something wrong with the template of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptProblem {
    /// The stage.
    pub stage: String,
    /// The template's file; `None`: it is built in.
    pub file: Option<String>,
    /// Counted from 1, where one line is at fault.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for PromptProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage `{}`: ", self.stage)?;
        f.write_str(self.file.as_deref().unwrap_or("built-in prompt"))?;
        if let Some(line) = self.line {
            write!(f, ": line {line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Looks at the template of every stage of `pipeline`, which was read from the file `config`.
pub fn prompt_problems(config: &Path, pipeline: &Pipeline) -> Vec<PromptProblem> {
    let prompts = Prompts::new(config);
    pipeline.stages.iter().flat_map(|stage| of_stage(&prompts, stage)).collect()
}

fn of_stage(prompts: &Prompts, stage: &Stage) -> Vec<PromptProblem> {
    let path = match &stage.prompt {
        Prompt::BuiltIn(_) => None,
        Prompt::File(name) => Some(prompts.folder.join(name)),
    };
    let found = match (&path, prompts.template(&stage.prompt)) {
        (Some(path), _) if !path.is_file() => {
            vec![(None, "there is no such file: write the prompt, or mend `prompt` in orch.toml".to_owned())]
        }
        (_, Err(error)) => vec![(None, error)],
        (_, Ok(template)) => problems(&template, stage),
    };
    let file = path.map(|path| path.display().to_string());
    let named =
        |(line, reason)| PromptProblem { stage: stage.name.clone(), file: file.clone(), line, reason };
    found.into_iter().map(named).collect()
}

/// The lines at fault and what is wrong there; nothing: the template can be used.
fn problems(template: &str, stage: &Stage) -> Vec<(Option<usize>, String)> {
    let environment = environment();
    let compiled = match environment.template_from_str(template) {
        Ok(compiled) => compiled,
        Err(error) => return vec![refused(&error)],
    };
    let sample = sample(stage, true);
    let unknown: BTreeSet<String> = compiled
        .undeclared_variables(true)
        .into_iter()
        .filter(|name| !environment.globals().any(|(global, _)| global == name))
        .collect();
    let mut found: Vec<_> = unknown
        .iter()
        .filter_map(|name| Some((line_of(template, name), unknown_name(name, &sample)?)))
        .collect();
    if found.is_empty() {
        // What only shows when it is used: a filter that there is not, a name within a loop.
        let strict = rendered(template, UndefinedBehavior::SemiStrict, &sample).err();
        let bare = rendered(template, UndefinedBehavior::Lenient, &self::sample(stage, false)).err();
        // A stage that always follows another one need not ask whether it does.
        let bare = bare.filter(|error| error.kind() != ErrorKind::UndefinedError);
        found.extend(strict.or(bare).map(|error| refused(&error)));
    }
    found.sort();
    found
}

fn rendered(
    template: &str,
    undefined: UndefinedBehavior,
    sample: &Value,
) -> Result<String, minijinja::Error> {
    let mut environment: Environment<'_> = environment();
    environment.set_undefined_behavior(undefined);
    environment.template_from_str(template)?.render(sample)
}

fn refused(error: &minijinja::Error) -> (Option<usize>, String) {
    let reason = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    (error.line(), format!("{reason}: mend the template"))
}

/// What is wrong with a name, such as `titel` or `parent.sumary`, if it is none of a prompt's.
fn unknown_name(name: &str, sample: &Value) -> Option<String> {
    let (outer, inner) = name.split_once('.').map_or((name, None), |(outer, inner)| (outer, Some(inner)));
    let known = names(sample);
    if !known.iter().any(|one| one == outer) {
        return Some(format!("a prompt has no `{outer}`: {}", remedied(outer, &known)));
    }
    let inner = inner?.split('.').next()?;
    let within = sample.get_attr(outer).ok()?;
    let said = names(&within);
    let is_known = said.is_empty() || said.iter().any(|one| one == inner);
    (!is_known).then(|| format!("`{outer}` has no `{inner}`: {}", remedied(inner, &said)))
}

/// The names in a value; none where it takes any, or is a text or a list.
fn names(value: &Value) -> Vec<String> {
    if value.kind() != ValueKind::Map {
        return Vec::new();
    }
    value.try_iter().map(|keys| keys.map(|key| key.to_string()).collect()).unwrap_or_default()
}

fn remedied(word: &str, known: &[String]) -> String {
    remedy(word, &known.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The first line in which the name stands as a word of its own within a tag.
fn line_of(template: &str, name: &str) -> Option<usize> {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.';
    let mut from = 0;
    while let Some(open) = template[from..].find(['{']).map(|at| from + at) {
        let close = match template[open..].get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            Some(_) | None => {
                from = open + 1;
                continue;
            }
        };
        let end = template[open..].find(close).map_or(template.len(), |at| open + at);
        let tag = &template[open..end];
        let stands = tag.match_indices(name).find(|(at, _)| {
            let before = tag[..*at].chars().next_back();
            let after = tag[at + name.len()..].chars().next();
            !before.is_some_and(part) && !after.is_some_and(|letter| part(letter) && letter != '.')
        });
        if let Some((at, _)) = stands {
            return Some(template[..open + at].matches('\n').count() + 1);
        }
        from = end;
    }
    None
}

/// Facts differ from event to event: any name may be one.
#[derive(Debug)]
struct AnyFact;

impl Object for AnyFact {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from("fact"))
    }
}

/// What a prompt is written from: with everything in it, or for the first stage of an item of which nothing is known.
fn sample(stage: &Stage, whole: bool) -> Value {
    let at = Timestamp::from_ms(0);
    let word = || Some("sample".to_owned());
    let said = StageResult {
        stage: "before".to_owned(),
        job: Some(JobId(1)),
        verdict: "fail".to_owned(),
        summary: "sample".to_owned(),
        findings: vec!["sample".to_owned()],
        head: Some("1".repeat(40)),
        text: "sample".to_owned(),
    };
    let payload = Payload {
        title: word(),
        body: word(),
        url: word(),
        author: word(),
        results: vec![said],
        ..Payload::default()
    };
    let job = Job {
        id: JobId(1),
        project: "project".to_owned(),
        work_item: "ITEM-1".to_owned(),
        stage: stage.name.clone(),
        role: stage.role.clone(),
        priority: 0,
        budgets: Budgets::default(),
        epoch: Epoch::default(),
        revision: 0,
        state: JobState::Queued { available_at: at },
        created_at: at,
        updated_at: at,
        trace_context: None,
        origin: Origin { head: whole.then(|| "1".repeat(40)), ..Origin::default() },
    };
    let payload = if whole { payload } else { Payload::default() };
    let known = Context::new(&job, &payload, Uuid::nil()).into_value();
    context! { facts => Value::from_object(AnyFact), ..known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(template: &str) -> Vec<(Option<usize>, String)> {
        let stage = domain::pipeline::parse("").unwrap().stages.remove(0);
        problems(template, &stage)
    }

    #[test]
    fn what_a_prompt_has_may_be_used() {
        let documented = "{{ job }} {{ project }} {{ work_item }} {{ stage }} {{ role }} {{ head }} {{ author }} {{ url }}\n\
             {{ title }} {{ body }} {{ request }} {{ findings }} {{ verdict }} {{ facts.branch }} {{ facts['x'] }}\n\
             {{ parent.stage }} {{ parent.verdict }} {{ parent.head }} {{ parent.summary }} {{ parent.findings }} {{ parent.text }}\n\
             {% for said in results %}{{ loop.index }} {{ said.stage | upper }} {{ said.text }}{% endfor %}{{ results[0].head }}\n\
             {% set mine = 'x' %}{{ mine }} {% if findings %}a{% else %}b{% endif %} {% for n in range(2) %}{{ n }}{% endfor %}";
        assert_eq!(found(documented), []);
        for prompt in domain::pipeline::parse("").unwrap().stages {
            assert_eq!(of_stage(&Prompts::new(Path::new("orch.toml")), &prompt), [], "{}", prompt.name);
        }
    }

    #[test]
    fn what_no_prompt_has_is_named_with_its_line_and_what_was_meant() {
        let told = |template: &str| {
            let found = found(template);
            assert_eq!(found.len(), 1, "{found:?}");
            (found[0].0.unwrap_or_default(), found[0].1.clone())
        };
        let cases = [
            ("titel is no {{ title }}\n\n{{ titel }}", 3, "a prompt has no `titel`: did you mean `title`?"),
            ("a\n{% if parent.sumary %}x{% endif %}", 2, "`parent` has no `sumary`: did you mean `summary`?"),
            ("a\n{% if zzz %}\nx{% endif %}", 2, "a prompt has no `zzz`: use one of "),
            ("{{ title\n", 1, "syntax error: "),
            ("a\n\n{% endif %}", 3, "syntax error: "),
            ("{% for said in results %}\n{{ said.txt }}\n{% endfor %}", 2, "undefined value"),
            ("\n{{ title | shout }}", 2, "unknown filter: "),
            ("{% if findings %}a{% else %}\n{{ title | shout }}{% endif %}", 2, "unknown filter: "),
        ];
        for (template, line, reason) in cases {
            let (found_at, found) = told(template);
            assert!(found_at == line && found.starts_with(reason), "{template:?}: {found_at} {found}");
        }
        let several = found("{{ titel }}\n{{ boddy }}");
        assert_eq!(several.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [Some(1), Some(2)]);
    }
}
