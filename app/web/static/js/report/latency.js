// How long a forward takes, before and after, where it was measured.

import { h } from "../lib/dom.js";
import { plural } from "../lib/format.js";

/** 12.345 -> "12.3 ms", 1084 -> "1.08 s" */
export function milliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toPrecision(3)} s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

export function latencySection(measured) {
  if (!measured) return null;
  const columns = ["Batch", "Input", "Before", "After", "Speed (quartiles)"];
  return h(
    "section",
    { "aria-labelledby": "latency-title" },
    h("h2", { id: "latency-title" }, "Speed"),
    h("p", {}, measured.sentence),
    h(
      "div",
      { class: "scroll wide", tabindex: "0", role: "region", "aria-label": "Speed, figures" },
      h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, measured.rows.map(row))),
    ),
    h("p", { class: "hint" }, `Medians of ${measured.repeats} turns and fewer for larger batches, after ${plural(measured.warmup, "run")} to warm up; ${measured.dtype}, ${measured.runtime}, on ${measured.device} with ${plural(measured.threads, "thread")}.`),
  );
}

function row(one) {
  const spread = one.spread.map((value) => value.toFixed(2)).join(" to ");
  const cells = [one.batch, one.shape.map((sizes) => sizes.join("×")).join(", "), milliseconds(one.before_ms), milliseconds(one.after_ms), `${one.ratio.toFixed(2)} × (${spread})`];
  return h("tr", {}, cells.map((cell) => h("td", {}, String(cell))));
}
