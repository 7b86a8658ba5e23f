// The newest jobs of this key.

import { h } from "./lib/dom.js";
import { ago, bytes } from "./lib/format.js";
import { askForKey, keysNeeded, storedKey } from "./lib/key.js";
import { problemOf } from "./lib/problem.js";
import { ask, at } from "./lib/service.js";
import { STATES } from "./lib/states.js";

/** Show them, or how to see them. */
export async function showRecent(place) {
  if (keysNeeded() && !storedKey()) {
    place.replaceChildren(
      h("p", { class: "hint" }, "Jobs belong to a key."),
      h("button", { type: "button", class: "quiet", onclick: () => enter(place) }, "Enter a key"),
    );
    return;
  }
  place.replaceChildren(...(await listed()));
}

async function enter(place) {
  if (await askForKey("Jobs belong to the key that they were sent with.")) await showRecent(place);
}

async function listed() {
  try {
    const { jobs, next } = await page("");
    if (!jobs.length) return [h("p", { class: "hint" }, "None yet. The first one will stand here.")];
    const list = h("ul", { class: "jobs" }, jobs.map(row));
    return next ? [list, older(list, next)] : [list];
  } catch (error) {
    return [h("p", { class: "hint" }, problemOf(error).title)];
  }
}

const page = async (from) => (await ask(`/v1/jobs?limit=8${from}`, { quiet: true })).json();

/** A button that adds the next page to the list, until there is none. */
function older(list, cursor) {
  const button = h("button", { type: "button", class: "quiet", onclick: add }, "Older jobs");
  async function add() {
    try {
      const { jobs, next } = await page(`&cursor=${encodeURIComponent(cursor)}`);
      const rows = jobs.map(row);
      list.append(...rows);
      rows[0]?.querySelector("a").focus();
      cursor = next;
      button.hidden = !next;
    } catch (error) {
      button.textContent = `Older jobs: ${problemOf(error).title}`;
    }
  }
  return button;
}

function row(job) {
  const [word, tone] = STATES[job.state];
  const about = [job.recognised?.family, bytes(job.input.bytes), ago(job.created_at)].filter(Boolean).join(" · ");
  return h(
    "li",
    {},
    h("a", { href: at(`/jobs/${encodeURIComponent(job.id)}`) }, job.input.filename),
    h("span", { class: `pill ${tone}` }, word),
    h("span", { class: "hint" }, about),
  );
}
