// What a reader should know beside the figures: notes, assumptions, what was dropped, and what made the report.

import { h } from "../lib/dom.js";
import { bytes, duration, number, plural, sentence } from "../lib/format.js";
import { unfoldOnPaper } from "./print.js";

/** Notes and assumptions; nothing where there are none. `pick(path)` leads to a layer. */
export function noteSection(report, pick) {
  const assumed = report.replaced.filter((one) => one.assumed).length;
  const notes = [
    assumed && [true, `${plural(assumed, "replacement")} ${assumed === 1 ? "rests" : "rest"} on an assumption: the data flow is the usual one of such blocks, but the file does not prove it. They are marked below; the option “only what is proved” leaves them alone.`],
    report.refused.length > 0 && [true, refusals(report.refused, pick)],
    ...report.notes.map((text) => [false, sentence(text)]),
  ].filter(Boolean);
  if (!notes.length) return null;
  return h("section", { class: "notes", "aria-label": "Notes" }, notes.map(([warns, text]) => h(typeof text === "string" ? "p" : "div", { class: warns ? "note warn" : "note" }, text)));
}

const MOST_REASONS = 4;

/** Why places could not be fused: each reason once, the most frequent first, with the first place that has it. */
function refusals(refused, pick) {
  const reasons = new Map();
  for (const one of refused) reasons.set(one.reason, [...(reasons.get(one.reason) ?? []), one]);
  const most = [...reasons.values()].sort((one, other) => other.length - one.length);
  const more = most.length - MOST_REASONS;
  return [
    h("p", {}, `${plural(refused.length, "place")} could not be fused.`),
    h("ul", {}, most.slice(0, MOST_REASONS).map((places) => h("li", {}, place(places, pick), `: ${sentence(places[0].reason)}`))),
    more > 0 && h("p", {}, `${plural(more, "more reason")} under “Refused” at the end of the report.`),
  ];
}

function place([first, ...others], pick) {
  const name = first.path || "the model";
  return [h("button", { type: "button", class: "link", onclick: () => pick(first.path) }, code(name)), others.length ? ` and ${number(others.length)} more` : ""];
}

/** What was dropped, what classes were read as, and where the report was made; folded away. */
export function aboutSection(report) {
  const parts = [
    report.removed.length && folded(`Dropped from the file (${report.removed.length})`, table(["What", "Why", "Size"], report.removed.map((one) => [code(one.path), one.reason, bytes(one.bytes)]))),
    report.refused.length && folded(`Refused (${report.refused.length})`, table(["Where", "Why", "Code"], report.refused.map((one) => [code(one.path), one.reason, code(one.code)]))),
    report.read_as.length && folded("What each class was read as", table(["Class", "Read as", "Count"], report.read_as.map((one) => [code(one.class_path), one.assumed ? `${one.read_as} (assumed)` : one.read_as, String(one.count)]))),
    report.globals.length && folded(`Names in the pickle (${report.globals.length})`, h("p", { class: "names" }, report.globals.map((one) => code(one)))),
    folded("Files and versions", facts(report)),
  ];
  const section = h("section", { class: "about", "aria-labelledby": "about-title" }, h("h2", { id: "about-title" }, "More"), parts.filter(Boolean));
  unfoldOnPaper(section);
  return section;
}

const code = (text) => h("code", {}, text);

function folded(title, content) {
  return h("details", {}, h("summary", {}, title), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, content));
}

function table(columns, rows) {
  return h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))));
}

function facts(report) {
  const times = Object.entries(report.timings_seconds).map(([name, seconds]) => `${name} ${duration(seconds)}`);
  const made = report.environment;
  const rows = [
    ["Sent", `${report.input.filename}, ${report.input.format}, sha-256 `, code(report.input.sha256)],
    ["Came back", `${report.output.filename}, ${report.output.format}, sha-256 `, code(report.output.sha256)],
    ["Took", times.join(", ")],
    ["Made by", `fusebox ${made.fusebox}, torch ${made.torch}, Python ${made.python}, on ${made.device}; report schema ${report.schema_version}`],
  ];
  return h("dl", { class: "facts" }, rows.map(([name, ...value]) => [h("dt", {}, name), h("dd", {}, h("span", {}, value))]));
}
