// One layer: what it was, what it is, and what stands in the report about it.

import { h } from "../lib/dom.js";
import { bytes, error, number } from "../lib/format.js";

/** Everything the report says about a row. */
export function layerDetail(row, report) {
  const rows = [
    ["Before", row.before && text(row.before)],
    ["After", row.after && text(row.after)],
    ...fate(row, report),
    ["Parameters", row.below ? `${number(row.first)} before, ${number(row.last)} after, with all below` : `${number(row.first)} before, ${number(row.last)} after`],
    ["Multiply-adds", multiplyAdds(row)],
  ];
  return h(
    "div",
    {},
    h("h3", {}, h("code", {}, row.path || "(model)")),
    h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  );
}

const text = (layer) => h("code", {}, layer.text);

function multiplyAdds({ before, after }) {
  const shown = [before, after].map((layer) => (layer?.multiply_adds ? number(layer.multiply_adds) : null));
  if (!shown[0] && !shown[1]) return null;
  return `${shown[0] ?? "none"} before, ${shown[1] ?? "none"} after`;
}

function fate(row, report) {
  if (row.fate === "refused") return inside(report.refused, row).flatMap((one) => [["Refused", one.reason], ["Code", h("code", {}, one.code)]]);
  if (row.fate === "removed") return inside(report.removed, row).flatMap((one) => [["Removed", one.reason], ["Size", one.bytes ? bytes(one.bytes) : null]]);
  if (row.fate === "fused" || row.fate === "merged") return inside(report.replaced, row).flatMap(replaced(row));
  // A block whose layers were replaced, or a place where they could not be.
  const refused = inside(report.refused, row, true).flatMap((one) => [["Refused", one.reason], ["Code", h("code", {}, one.code)]]);
  return [...inside(report.replaced, row, true).flatMap(replaced(row)), ...refused];
}

const replaced = (row) => (one) => [
  ["Replaced", [one.before.map((operator) => h("code", {}, operator)), h("span", {}, "→"), h("code", {}, one.after)]],
  ["Went into", row.before?.into && row.before.into !== row.path ? h("code", {}, row.before.into) : null],
  ["Read as", one.assumed ? `${one.read_as}. Assumed: the data flow is the usual one of such a block, but the file does not prove it.` : one.read_as],
  ["Error", one.error && `${error(one.error.identity)} in float64, ${error(one.error.native)} as it runs`],
];

/** The entries about this path, or about the nearest one above it (or only this one); with a graph, the operator's own. */
function inside(entries, row, exact = false) {
  const places = exact ? [row.path] : [row.path, row.before?.into].filter((path) => path !== null && path !== undefined);
  let found = [];
  let depth = -1;
  for (const one of entries) {
    const near = places.some((path) => path === one.path || (!exact && (one.path === "" || path.startsWith(`${one.path}.`))));
    if (!near || one.path.length < depth) continue;
    if (one.path.length > depth) found = [];
    depth = one.path.length;
    found.push(one);
  }
  return found.slice(0, 6);
}
