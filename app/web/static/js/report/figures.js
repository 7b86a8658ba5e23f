// What fusing brought, in a few large figures.

import { h, svg } from "../lib/dom.js";
import { bytes, change, count, number, plural } from "../lib/format.js";
import { milliseconds } from "./latency.js";

/** The figures that stand at the head of a report. */
export function figures(report) {
  const sum = report.summary;
  const cards = [
    card("Layers replaced", number(sum.layers_replaced), `${number(sum.layers_refused)} refused · ${number(sum.layers_removed)} removed`),
    card("Batch norms left", pair(number(sum.batch_norms_before), number(sum.batch_norms_after)), sum.batch_norms_after === 0 && sum.batch_norms_before > 0 ? "all folded" : plural(sum.convolutions_after, "convolution")),
    sum.operators_before !== null && card("Operators", pair(number(sum.operators_before), number(sum.operators_after)), change(sum.operators_before, sum.operators_after)),
    card("Parameters", pair(count(sum.parameters_before), count(sum.parameters_after)), change(sum.parameters_before, sum.parameters_after)),
    sum.multiply_adds_before !== null && card("Multiply-adds", pair(count(sum.multiply_adds_before), count(sum.multiply_adds_after)), multiplyAdds(report)),
    latency(report.latency),
  ];
  return h("section", { "aria-label": "Figures" }, h("div", { class: "figures-grid" }, cards.filter(Boolean), fileCard(report)));
}

/** They depend on the inputs, so these are told as well. */
function multiplyAdds({ summary, equivalence }) {
  const shapes = equivalence?.probe.shape ?? [];
  const at = shapes.length === 1 ? `, at ${shapes[0].join("×")}` : "";
  return change(summary.multiply_adds_before, summary.multiply_adds_after) + at;
}

function card(name, value, below) {
  return h("div", { class: "figure-card" }, h("h3", {}, name), h("p", { class: "value" }, value), h("p", { class: "hint" }, below));
}

function pair(before, after) {
  if (before === after) return before;
  return [h("span", { class: "before" }, before), h("span", { class: "arrow", "aria-label": "to" }, " → "), h("span", {}, after)];
}

function latency(measured) {
  const row = measured?.rows[0];
  if (!row) return null;
  const [low, high] = row.spread;
  const told = low <= 1 && high >= 1 ? "no difference beyond the spread" : `${row.ratio.toFixed(2)} × the speed, on ${measured.device}`;
  return card(`Latency, batch ${row.batch}`, pair(milliseconds(row.before_ms), milliseconds(row.after_ms)), told);
}

/** The file's bytes in three parts: what is left, what fusing saved, what was stripped. */
function fileCard(report) {
  const sum = report.summary;
  const parts = [
    ["left", "in the new file", report.output.bytes],
    ["fused", "saved by fusing", Math.max(0, sum.bytes_saved_by_fusing)],
    ["stripped", "stripped: optimizer, second copies and the like", sum.bytes_stripped],
  ];
  // The figures of the report are of tensors; files hold names, structure and padding as well.
  const rest = report.input.bytes - parts.reduce((total, [, , size]) => total + size, 0);
  if (rest > report.input.bytes / 200) parts.push(["rest", "fewer names, less structure and padding", rest]);
  const all = parts.reduce((total, [, , size]) => total + size, 0) || 1;
  let at = 0;
  const bars = parts.map(([name, , size]) => {
    const bar = svg("rect", { class: name, x: String(at), width: String((100 * size) / all), height: "10" });
    at += (100 * size) / all;
    return bar;
  });
  return h(
    "div",
    { class: "figure-card wide" },
    h("h3", {}, "File"),
    h("p", { class: "value" }, pair(bytes(report.input.bytes), bytes(report.output.bytes))),
    svg("svg", { class: "parts", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, bars),
    h("ul", { class: "legend" }, parts.filter(([, , size]) => size > 0).map(([name, text, size]) => h("li", { class: name }, h("strong", {}, bytes(size)), ` ${text}`))),
  );
}
