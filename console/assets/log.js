// Shows a run's log while it grows: the lines of stream-json as thoughts, tool calls and results, everything else as
// it is. What an agent prints is hostile: it only ever becomes text, never markup.
"use strict";

const ROWS_MAX = 5000;      // older rows are dropped from the page; the download has them all
const LINE_CHARS_MAX = 20000; // of one shown line
const LINE_KEPT_MAX = 4 * LINE_CHARS_MAX; // of one line read

const box = document.getElementById("log");
const follow = document.getElementById("log-follow");
const raw = document.getElementById("log-raw");
const find = document.getElementById("log-find");
const found = document.getElementById("log-found");
const note = document.getElementById("log-note");

const lines = [];
let first = 0; // number of the first line kept

// Colours and cursor movements of terminals, and what else is no text.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g;
function plain(text) {
  const whole = text.replace(ESCAPES, "").replace(CONTROLS, "�");
  return whole.length > LINE_CHARS_MAX
    ? `${whole.slice(0, LINE_CHARS_MAX)} … ${whole.length - LINE_CHARS_MAX} more characters in the download`
    : whole;
}

function row(kind, text, more) {
  const div = document.createElement("div");
  div.className = `row ${kind}`;
  if (more) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = plain(text);
    const body = document.createElement("div");
    body.textContent = plain(more);
    details.append(summary, body);
    div.append(details);
  } else {
    div.textContent = plain(text);
  }
  return div;
}

const text = (value) => typeof value === "string" ? value : JSON.stringify(value, null, 1) ?? "";
const brief = (value) => text(value).replace(/\s+/g, " ").slice(0, 160);

// The rows of one line; null: it is no event that is known.
function structured(line) {
  if (!line.startsWith("{")) return null;
  let event;
  try { event = JSON.parse(line); } catch { return null; }
  if (event.type === "system" && event.subtype === "init") return [row("result", `session begins · ${event.model ?? ""}`, text(event))];
  if (event.type === "system") return [row("result", `${event.subtype ?? "system"} ${brief(event.error ?? event.message ?? "")}`, text(event))];
  if (event.type === "result") {
    const cost = event.total_cost_usd === undefined ? "" : ` · $${event.total_cost_usd}`;
    return [row(event.is_error ? "end bad" : "end", `${event.is_error ? "failed" : "finished"} · ${event.num_turns ?? "?"} turns${cost}\n${text(event.result ?? event.error ?? "")}`)];
  }
  const content = event.message?.content;
  if (!Array.isArray(content)) return null;
  return content.map((piece) => {
    if (piece.type === "text") return row("", piece.text ?? "");
    if (piece.type === "thinking") return row("result", "thought", piece.thinking ?? "");
    if (piece.type === "tool_use") return row("tool", `▸ ${piece.name ?? "tool"} ${brief(piece.input?.command ?? piece.input?.file_path ?? piece.input ?? "")}`, text(piece.input));
    if (piece.type === "tool_result") return row(piece.is_error ? "bad" : "result", `◂ ${brief(piece.content)}`, text(piece.content));
    return row("result", piece.type ?? "event", text(piece));
  });
}

const BAD = /\b(error|panicked|fatal|traceback|exception|failed)\b/i;
function show(line) {
  const rows = (!raw.checked && structured(line)) || [row(BAD.test(line) ? "bad" : "", line)];
  for (const one of rows) one.dataset.line = first + lines.length - 1;
  box.append(...rows);
  while (box.childElementCount > ROWS_MAX) box.firstElementChild.remove();
}

function add(line) {
  lines.push(line.slice(0, LINE_KEPT_MAX));
  if (lines.length > ROWS_MAX) { lines.shift(); first += 1; note.textContent = `the first ${first} lines are in the download only`; }
  show(line);
}

function redraw() {
  box.replaceChildren();
  const kept = lines.splice(0);
  for (const line of kept) { lines.push(line); show(line); }
  mark();
}

let hits = [], at = -1;
function mark() {
  const word = find.value.toLowerCase();
  hits = []; at = -1;
  for (const one of box.children) {
    const hit = word !== "" && one.textContent.toLowerCase().includes(word);
    one.classList.toggle("hit", hit);
    if (hit) hits.push(one);
  }
  found.textContent = word === "" ? "" : `${hits.length} found`;
}
function jump(list) {
  if (list.length === 0) return;
  at = (at + 1) % list.length;
  follow.checked = false;
  list[at].querySelector("details")?.setAttribute("open", "");
  list[at].scrollIntoView({ block: "center" });
  found.textContent = `${at + 1} of ${list.length}`;
}

find.addEventListener("input", mark);
find.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); jump(hits); } });
document.getElementById("log-error").addEventListener("click", () => jump([...box.querySelectorAll(".bad")]));
raw.addEventListener("change", redraw);
follow.addEventListener("change", () => { if (follow.checked) box.scrollTop = box.scrollHeight; });
box.addEventListener("wheel", (event) => { if (event.deltaY < 0) follow.checked = false; }, { passive: true });

async function read() {
  const answer = await fetch(box.dataset.url);
  if (!answer.ok) { note.textContent = `the log cannot be shown: ${(await answer.json().catch(() => ({}))).error ?? answer.status}`; return; }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop().slice(0, LINE_KEPT_MAX);
    for (const line of parts) if (line !== "") add(line);
    if (follow.checked) box.scrollTop = box.scrollHeight;
  }
  if (rest !== "") add(rest);
  if (follow.checked) box.scrollTop = box.scrollHeight;
  if (find.value !== "") mark();
}

// A log that breaks off (a restarted server) is read again from its start.
async function keepReading() {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 15000)) {
    try { await read(); return; } catch { note.textContent = "the log broke off, reading it again"; }
    await new Promise((resume) => setTimeout(resume, pause));
    lines.length = 0; first = 0; box.replaceChildren(); note.textContent = "";
  }
}
if (box) keepReading();
