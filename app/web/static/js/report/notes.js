// What a reader should know beside the figures: notes, assumptions, what was dropped, and what made the report.

import { h } from "../lib/dom.js";
import { bytes, duration, plural, sentence } from "../lib/format.js";

/** Notes and assumptions; nothing where there are none. */
export function noteSection(report) {
  const assumed = report.replaced.filter((one) => one.assumed).length;
  const notes = [
    assumed && [true, `${plural(assumed, "replacement")} ${assumed === 1 ? "rests" : "rest"} on an assumption: the data flow is the usual one of such blocks, but the file does not prove it. They are marked below; the option “only what is proved” leaves them alone.`],
    report.summary.layers_refused > 0 && [true, `${plural(report.summary.layers_refused, "place")} could not be fused. The reasons stand with the layers below.`],
    ...report.notes.map((text) => [false, sentence(text)]),
  ].filter(Boolean);
  if (!notes.length) return null;
  return h("section", { class: "notes", "aria-label": "Notes" }, notes.map(([warns, text]) => h("p", { class: warns ? "note warn" : "note" }, text)));
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
  return h("section", { class: "about", "aria-labelledby": "about-title" }, h("h2", { id: "about-title" }, "More"), parts.filter(Boolean));
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
