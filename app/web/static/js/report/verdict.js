// Whether the outputs are the same, in words, and the figures that say so.

import { h, svg } from "../lib/dom.js";
import { error } from "../lib/format.js";

// As the service judges: more than so many times the original's own noise fails the job.
const LIMIT = 4;

/** The verdict with its three figures. */
export function verdict(report) {
  const found = report.equivalence;
  if (isUntouched(report)) return untouched(report.summary);
  if (!found) return panel("warn", "The outputs were not compared", ["The comparison was turned off, so nothing is known of how far they moved."], null);
  const [title, ...sentences] = words(found);
  return panel(found.passed ? "good" : "bad", title, sentences, table(found, report));
}

/** Whether every layer of the file stands where it stood. */
export function isUntouched({ summary, equivalence }) {
  return equivalence?.scope === "none" || (summary.layers_replaced === 0 && summary.layers_removed === 0);
}

function untouched({ layers_refused: refused }) {
  const same = "The file that comes back computes what the one that you sent does.";
  if (refused) return panel("warn", "Nothing was fused, so nothing moved", [same, "What might have been fused was refused; the reasons stand below."], null);
  return panel("good", "There was nothing to fuse, so nothing moved", [same], null);
}

function panel(tone, title, sentences, below) {
  return h(
    "section",
    { class: `verdict card ${tone}`, "aria-labelledby": "verdict-title" },
    h("h2", { id: "verdict-title" }, mark(tone), title),
    sentences.filter(Boolean).map((one) => h("p", {}, one)),
    below,
  );
}

function mark(tone) {
  const path = { good: "m5 10.5 3.5 3.5L15.5 7", bad: "m6 6 8 8m0-8-8 8", warn: "M10 5.5v5.5m0 3v.1" }[tone];
  return svg("svg", { viewBox: "0 0 20 20", width: "22", height: "22", "aria-hidden": "true" }, svg("circle", { cx: "10", cy: "10", r: "9.5", class: "disc" }), svg("path", { d: path, class: "stroke" }));
}

function words(found) {
  const title = !found.passed ? "The outputs moved by more than the limit" : quiet(found) ? "It computes the same: the change is smaller than the original’s own noise" : "It computes the same, within the noise of the arithmetic";
  const how = {
    model: `The whole network was run before and after, on ${inputs(found.probe)}.`,
    blocks: `Each replaced block was run before and after, on ${inputs(found.probe)}. The code around the blocks is not known here, so the network as a whole was not run.`,
  }[found.scope];
  return [title, how, found.witness && witness(found.witness)];
}

const quiet = (found) => found.stored.relative <= found.stored.noise && found.native.relative <= found.native.noise;

function witness(text) {
  return /^[\w.-]+ [\d.]+/.test(text) ? `Its own code ran both files as well: ${text}.` : text;
}

function inputs(probe) {
  const shapes = probe.shape.map((one) => one.join(" × ")).join(" and ");
  const kind = probe.source === "caller" ? "the inputs that you sent" : "seeded random inputs";
  return probe.shape.length > 3 ? kind : `${kind} of ${shapes}`;
}

function table(found, report) {
  const rows = [
    ["Identity", "Is the algebra exact? In float64, before rounding.", found.identity.relative, null],
    ["Stored", `What did rounding to ${report.input.detected.dtype} cost? The written file, in float64.`, found.stored.relative, found.stored.noise],
    ["Native", `What will your code see? The written file, run in ${found.native.dtype}.`, found.native.relative, found.native.noise],
  ];
  return h(
    "table",
    { class: "errors" },
    h("caption", { class: "unseen" }, "How far the outputs moved, relative to their own size; the worst output and channel"),
    h("thead", {}, h("tr", {}, ["Error", "Moved by", "Original’s own noise", "Against the noise"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => line(...row))),
  );
}

function line(name, about, relative, noise) {
  const ratio = noise ? relative / noise : null;
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name, h("span", { class: "hint" }, about)),
    h("td", { "data-name": "moved by", class: "figure" }, error(relative)),
    h("td", { "data-name": "own noise", class: "figure" }, noise === null ? "none in float64" : error(noise)),
    h("td", { "data-name": "against it" }, ratio === null ? h("span", { class: "hint" }, noise === null ? "limit 1e-9" : "no noise to compare with") : meter(ratio)),
  );
}

/** The error as a share of what is allowed, with a tick where it equals the noise. */
function meter(ratio) {
  const filled = Math.max(1, Math.min(ratio / LIMIT, 1) * 100);
  const label = `${ratio < 0.01 ? "under 0.01" : ratio.toFixed(2)} × the noise`;
  return h(
    "div",
    { class: "meter" },
    svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "track", width: "100", height: "8" }), svg("rect", { class: "fill", width: String(filled), height: "8" }), svg("rect", { class: "tick", x: String(100 / LIMIT), width: "0.8", height: "8" })),
    h("span", {}, label, h("span", { class: "hint" }, ` of ${LIMIT} allowed`)),
  );
}
