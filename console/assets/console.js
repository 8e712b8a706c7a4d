// Keeps an open page true: the server announces a change, the page is fetched again, and the parts that differ are put
// in place. Without this script the pages and their buttons work all the same; they are only not live.
"use strict";

const PAUSE_MS_MIN = 500; // between two fetches of the page
const link = document.querySelector("[data-link]");

function say(state, text) {
  if (!link) return;
  link.dataset.state = state;
  link.textContent = text;
}

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// The server's clock counts: a reader's may be wrong.
const skew = Date.now() - Date.parse(document.documentElement.dataset.now);
function tick() {
  const now = Date.now() - skew;
  for (const time of document.querySelectorAll("time[data-form]")) {
    const ms = Date.parse(time.dateTime) - now;
    if (time.dataset.form === "elapsed") time.textContent = span(-ms);
    else time.textContent = ms > 0 ? `in ${span(ms)}` : `${span(-ms)} ago`;
  }
}
setInterval(tick, 1000);

// Puts the new parts in place by their ids and leaves what did not change, the focus and an open log alone.
function replaceParts(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  const focused = document.activeElement?.id;
  for (const part of document.querySelectorAll("[data-part]")) {
    const other = next.getElementById(part.id);
    if (other && other.dataset.source !== part.dataset.source) part.replaceWith(document.adoptNode(other));
  }
  if (focused) document.getElementById(focused)?.focus();
  tick();
}

let fetching = false, again = false;
async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (answer.ok) replaceParts(await answer.text());
  } catch {
    say("cut", "not reached");
  }
  setTimeout(() => { fetching = false; if (again) { again = false; refresh(); } }, PAUSE_MS_MIN);
}

if (link) {
  // The browser connects again by itself; the first event after that is the whole present state.
  const events = new EventSource("/events");
  events.addEventListener("queue", () => { say("live", "live"); refresh(); });
  events.addEventListener("runs", () => refresh());
  events.addEventListener("trouble", (event) => say("cut", event.data));
  events.onopen = () => say("live", "live");
  events.onerror = () => say("cut", "connecting again");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) { event.preventDefault(); return; }
  for (const button of form.querySelectorAll("button")) button.disabled = true;
});
