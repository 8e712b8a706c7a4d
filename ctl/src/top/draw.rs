//! The screen of `orch top`, a pure function of what is known.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, TableState, Wrap};

use super::view::View;
use crate::admin::jobs;
use crate::print::{plain, when};
use proto::v1;

/// The most rows of what needs a person, and of runners.
const LIST_ROWS_MAX: u16 = 4;
/// How much of the screen the selected job gets, in percent.
const DETAIL_PERCENT: u16 = 40;
const KEYS: &str = "q quit   up/down select   c cancel";

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let needs = lines_of(view.facts.queue.needs_you.len());
    let runners = lines_of(view.facts.queue.runners.len()).max(1);
    let [top, limits, needed, nodes, table, detail, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(needs),
        Constraint::Length(runners),
        Constraint::Min(4),
        Constraint::Percentage(DETAIL_PERCENT),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(glance(view)), top);
    frame.render_widget(Paragraph::new(limits_line(view)), limits);
    frame.render_widget(Paragraph::new(needs_lines(view, needs)), needed);
    frame.render_widget(Paragraph::new(runner_lines(view, runners)), nodes);
    job_rows(frame, view, table);
    selected(frame, view, detail);
    frame.render_widget(Paragraph::new(footer(view)), bottom);
}

fn lines_of(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(LIST_ROWS_MAX).min(LIST_ROWS_MAX)
}

impl View {
    /// A style in this colour, or none where colours are off.
    fn tint(&self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }
}

/// One line of truth.
fn glance(view: &View) -> Line<'static> {
    let queue = &view.facts.queue;
    let counts = queue.counts.unwrap_or_default();
    let ready = queue.runners.iter().filter(|runner| runner.state == "ready").count();
    let day = view.facts.budgets.iter().find(|budget| budget.scope == "day");
    let spent = day.and_then(|budget| budget.spent).unwrap_or_default().usd;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![
        Span::styled("orch", bold),
        Span::raw(format!(
            "  {} of {} running  {} waiting  ",
            counts.running, queue.max_concurrency, counts.queued
        )),
    ];
    let needs = queue.needs_you.len();
    let needs_style = if needs > 0 { view.tint(Color::Red).patch(bold) } else { Style::new() };
    spans.push(Span::styled(format!("{needs} need you"), needs_style));
    spans.push(Span::raw(format!("  {ready}/{} runners ready  ${spent:.2} today", queue.runners.len())));
    if queue.paused {
        spans.push(Span::styled("  PAUSED: `orch resume` goes on", view.tint(Color::Yellow).patch(bold)));
    }
    Line::from(spans)
}

/// Quotas and breakers, and what is wrong with orch.toml.
fn limits_line(view: &View) -> Line<'static> {
    let queue = &view.facts.queue;
    let mut spans = Vec::new();
    if let Some(error) = &queue.config_error {
        spans.push(Span::styled(format!("orch.toml: {}  ", plain(error)), view.tint(Color::Red)));
    }
    for breaker in queue.resilience.iter().flat_map(|resilience| &resilience.breaker) {
        if breaker.state != "closed" {
            let until = breaker.open_until.as_deref().map(|until| format!(" {}", when(until, view.now)));
            let text = format!(
                "breaker {} {}{}  ",
                breaker.account,
                breaker.state.replace('_', " "),
                until.unwrap_or_default()
            );
            spans.push(Span::styled(plain(&text), view.tint(Color::Red)));
        }
    }
    let quotas = queue.resilience.iter().flat_map(|resilience| &resilience.quota);
    let shown: Vec<String> = quotas
        .map(|quota| {
            let share =
                quota.utilization.map_or_else(|| "?".to_owned(), |share| format!("{:.0} %", share * 100.0));
            let resets = quota.resets_at.as_deref().map(|at| format!(" resets {}", when(at, view.now)));
            format!("{} {} {share}{}", quota.account, quota.window, resets.unwrap_or_default())
        })
        .collect();
    let quota = if shown.is_empty() { "no quota is known yet".to_owned() } else { shown.join("  ") };
    spans.push(Span::raw(format!("quota: {}", plain(&quota))));
    Line::from(spans)
}

fn needs_lines(view: &View, rows: u16) -> Vec<Line<'static>> {
    let line = |item: &v1::WorkItem| {
        let reason = item.needs.as_ref().map(|needs| needs.reason.as_str()).unwrap_or_default();
        Line::styled(plain(&format!("needs you: {} {reason}", item.key)), view.tint(Color::Red))
    };
    view.facts.queue.needs_you.iter().take(rows.into()).map(line).collect()
}

fn runner_lines(view: &View, rows: u16) -> Vec<Line<'static>> {
    let queue = &view.facts.queue;
    if queue.runners.is_empty() {
        return vec![Line::styled("no runner has registered: start `orch-runner`", view.tint(Color::Red))];
    }
    let preflights: Vec<&v1::Preflight> =
        queue.resilience.iter().flat_map(|resilience| &resilience.preflight).collect();
    let line = |runner: &v1::Runner| {
        let unwell = preflights.iter().find(|one| one.runner == runner.id && !one.ok);
        let trouble = unwell.and_then(|one| one.error.as_deref());
        let text = format!(
            "runner {} {} {}/{} seen {} {}",
            runner.id,
            runner.state,
            runner.busy,
            runner.slots,
            when(&runner.last_seen_at, view.now),
            trouble.unwrap_or_default()
        );
        let is_well = runner.state == "ready" && unwell.is_none();
        let style = if is_well { Style::new() } else { view.tint(Color::Yellow) };
        Line::styled(plain(text.trim_end()), style)
    };
    view.facts.queue.runners.iter().take(rows.into()).map(line).collect()
}

fn job_rows(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.jobs().map(|job| {
        let style = if job.status == "running" { view.tint(Color::Cyan) } else { Style::new() };
        let item = format!("{}/{}", job.project, job.work_item);
        Row::new([
            job.id.to_string(),
            job.status.clone(),
            plain(&item),
            plain(&job.stage),
            when(&job.updated_at, view.now),
            plain(&note(job, view)),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(18),
        Constraint::Length(13),
        Constraint::Length(11),
        Constraint::Min(10),
    ];
    let head = Row::new(["JOB", "STATUS", "WORK ITEM", "STAGE", "CHANGED", "NOTE"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths)
        .header(head)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ");
    let at = view.selected().and_then(|id| view.jobs().position(|job| job.id == id));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
    if view.facts.is_idle() && area.height > 1 {
        let below = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(Paragraph::new("nothing runs and nothing waits"), below);
    }
}

/// The instant first: the reason may be longer than the screen is wide.
fn note(job: &v1::Job, view: &View) -> String {
    match &job.waiting {
        Some(v1::Waiting { reason, until: Some(until), .. }) => {
            format!("{}: {reason}", when(until, view.now))
        }
        Some(_) | None => jobs::note(job, view.now),
    }
}

/// Why the selected job is where it is, and the end of its log.
fn selected(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let title = view.selected().map_or_else(|| " no job ".to_owned(), |id| format!(" job {id} "));
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(detail) = &view.facts.detail else { return };
    let why = jobs::explanation(detail, view.now);
    let ends = detail.why.as_ref().map(|why| format!("it goes on {}", why.ends));
    let mut words = vec![Line::raw(why.trim_end().to_owned())];
    words.extend(ends.map(|ends| Line::raw(plain(&ends))));
    let words = Paragraph::new(words).wrap(Wrap { trim: true });
    let width = usize::from(inner.width.max(1));
    // Two columns are lost where a word goes to the next line.
    let rows = (why.len() + 2).div_ceil(width)
        + detail.why.as_ref().map_or(0, |why| (why.ends.len() + 14).div_ceil(width));
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(inner.height);
    let [upper, lower] = Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(inner);
    frame.render_widget(words, upper);
    let fitting = usize::from(lower.height);
    let tail = &view.facts.tail;
    let shown = tail.iter().skip(tail.len().saturating_sub(fitting)).map(|line| Line::raw(line.clone()));
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()).style(dim), lower);
}

fn footer(view: &View) -> Line<'static> {
    if let Some(job) = view.confirms {
        let text = format!("end job {job}? It never runs again by itself.   y yes   any other key no");
        return Line::styled(text, view.tint(Color::Red).add_modifier(Modifier::BOLD));
    }
    if let Some(trouble) = &view.trouble {
        return Line::styled(plain(&format!("asking again: {trouble}")), view.tint(Color::Red));
    }
    match &view.message {
        Some(message) => Line::raw(plain(message)),
        None => Line::raw(KEYS),
    }
}

#[cfg(test)]
mod tests;
