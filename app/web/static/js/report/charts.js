// Two charts: the error of each replaced layer, and the size of each part of the network before and after.

import { freshId, h } from "../lib/dom.js";
import { count, error, number, plural } from "../lib/format.js";
import { visible } from "../lib/visible.js";
import { Drawn, colour } from "./plot.js";

/** The section; `pick(path)` leads to a layer that is chosen in a chart. */
export function charts(report, rows, plot, pick) {
  const parts = [errorChart(report, plot, pick), sizeChart(report, rows, plot, pick)].filter(Boolean);
  if (!parts.length) return null;
  return h("section", { class: "charts", "aria-label": "Charts" }, parts);
}

function figure(title, text, drawn, table, controls = null) {
  const id = freshId("chart");
  drawn.element.setAttribute("role", "img");
  drawn.element.setAttribute("aria-label", visible(text));
  return h("figure", { class: "card chart", "aria-labelledby": id }, h("div", { class: "section-head" }, h("h2", { id }, title), controls), h("figcaption", { class: "hint" }, text), drawn.element, table);
}

/** A table that is made when it is asked for: a thousand rows that nobody reads need not be there. */
function lazyTable(title, columns, rows) {
  const place = h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": `${title}, figures` });
  const fill = () => {
    if (place.firstChild) return;
    place.append(h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows().map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
  };
  return h("details", { ontoggle: fill }, h("summary", {}, "The figures as a table"), place);
}

function errorChart(report, plot, pick) {
  const layers = report.replaced.filter((one) => one.error !== null);
  if (!layers.length) return null;
  const worst = layers.reduce((most, one) => (one.error.native > most.error.native ? one : most));
  const noise = report.equivalence?.native.noise || null;
  const text = `${plural(layers.length, "replaced layer")} in order. Largest error as it runs: ${error(worst.error.native)}, at ${worst.path || "the model"}; in float64 at most ${error(Math.max(...layers.map((one) => one.error.identity)))}.${noise ? ` The original’s own noise, end to end, is ${error(noise)}.` : ""}${unmoved(layers)}`;
  const positive = (value) => (value > 0 ? value : null); // a logarithmic scale has no place for nothing
  const columns = [layers.map((_, index) => index + 1), layers.map((one) => positive(one.error.native)), layers.map((one) => positive(one.error.identity)), layers.map(() => noise)];
  const drawn = new Drawn(plot, (element) => ({ columns, options: errorOptions(element, columns, layers, noise) }), (index) => pick(layers[index].path));
  const table = lazyTable("Errors", ["Layer", "As it runs", "In float64"], () => layers.map((one) => [h("code", {}, one.path), error(one.error.native), error(one.error.identity)]));
  return figure("Error of each replaced layer", text, drawn, table);
}

/** A logarithmic scale has no place for them, so they are told. */
function unmoved(layers) {
  const exact = layers.filter((one) => one.error.native === 0).length;
  return exact ? ` Not drawn: ${plural(exact, "layer")} that did not move at all.` : "";
}

const EXACT = [-16, -6]; // powers of ten to draw where no error is above nothing

function errorOptions(element, columns, layers, noise) {
  const values = columns.slice(1).flat().filter((value) => value !== null);
  const [low, high] = values.length ? [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)) + 0.01)] : EXACT;
  const step = Math.max(1, Math.ceil((high - low) / 7));
  const tens = [];
  for (let power = high; power >= low; power -= step) tens.unshift(10 ** power);
  const dots = (label, name) => ({ label, stroke: colour(element, name), paths: () => null, points: { show: true, size: 5, width: 0, fill: colour(element, name) }, value: (_, value) => (value === null ? "–" : error(value)) });
  return {
    scales: { x: { time: false, range: (_, from, to) => (from === to ? [from - 1, to + 1] : [from - 0.5, to + 0.5]) }, y: { distr: 3, log: 10, range: [10 ** low, 10 ** high] } },
    axes: [{ label: "Replaced layer", labelSize: 18, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] }, { size: 58, splits: () => tens, values: (_, splits) => splits.map((value) => value.toExponential(0)), filter: (_, splits) => splits }],
    series: [
      { label: "Layer", value: (_, value) => (value === null ? "–" : visible(layers[value - 1]?.path || "(model)")) },
      dots("As it runs", "--accent"),
      dots("In float64", "--cool"),
      ...(noise ? [{ label: "Original’s own noise, end to end", stroke: colour(element, "--warn"), dash: [6, 5], width: 1.5, points: { show: false }, value: (_, value) => error(value ?? noise) }] : [{ show: false, label: "" }]),
    ],
  };
}

const MOST_PARTS = 120;

function sizeChart(report, rows, plot, pick) {
  if (!report.tree) return null;
  const parts = partsOf(rows, report.tree);
  if (parts.length < 2) return null;
  const measures = [["parameters", "Parameters"], ["multiply_adds", "Multiply-adds"]].filter(([name]) => parts.some((one) => one.before[name] > 0));
  if (!measures.length) return null;
  let measure = measures[0][0];
  const sum = (when, name) => parts.reduce((total, one) => total + one[when][name], 0);
  const text = `The network in ${number(parts.length)} parts from input to output, each before (pale) and after (strong). ${measures.map(([name, word]) => `${word}: ${count(sum("before", name))} before, ${count(sum("after", name))} after`).join(". ")}.`;
  const columns = () => [parts.map((_, index) => index + 1), parts.map((one) => one.before[measure]), parts.map((one) => one.after[measure])];
  const drawn = new Drawn(plot, (element, uPlot) => ({ columns: columns(), options: sizeOptions(element, uPlot, parts) }), (index) => pick(parts[index].path));
  const table = lazyTable("Sizes", ["Part", ...measures.flatMap(([, word]) => [`${word} before`, "after"])], () => parts.map((one) => [h("code", {}, one.name), ...measures.flatMap(([name]) => [number(one.before[name]), number(one.after[name])])]));
  return figure("Size before and after", text, drawn, table, measures.length > 1 ? choice(measures, (name) => drawn.redraw((measure = name))) : null);
}

function choice(measures, chosen) {
  const buttons = measures.map(([name, word], index) =>
    h("button", { type: "button", class: "chip", "aria-pressed": String(index === 0), onclick: (event) => {
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === event.currentTarget));
      chosen(name);
    } }, word),
  );
  return h("div", { class: "chips", role: "group", "aria-label": "What is shown" }, buttons);
}

function sizeOptions(element, uPlot, parts) {
  const bars = (label, name, width) => ({ label, width: 0, fill: colour(element, name), stroke: colour(element, name), paths: uPlot.paths.bars({ size: [width, 40], radius: 0.12 }), points: { show: false }, value: (_, value) => (value === null ? "–" : count(value)) });
  return {
    scales: { x: { time: false, range: (_, from, to) => [from - 0.7, to + 0.7] }, y: { range: (_, __, most) => [0, most * 1.05 || 1] } },
    axes: [{ label: "Part of the network", labelSize: 18, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100] }, { size: 58, values: (_, splits) => splits.map((value) => count(value)) }],
    series: [{ label: "Part", value: (_, value) => (value === null ? "–" : visible(parts[value - 1]?.name ?? "")) }, bars("Before", "--pale", 0.86), bars("After", "--accent", 0.5)],
  };
}

/** The network in at most so many parts: the highest level that has several, its neighbours taken together if need be. */
function partsOf(rows, tree) {
  let top = rows.filter((row) => row.parent === null);
  for (let inner; top.length === 1 && (inner = rows.filter((row) => row.parent === top[0])).length; ) top = inner;
  // A level with a body and a head only: look into the largest.
  while (top.length < 6) {
    const largest = top.reduce((most, row) => (row.below > most.below ? row : most), { below: 0 });
    if (!largest.below) break;
    const inner = rows.filter((row) => row.parent === largest);
    if (inner.length + top.length > MOST_PARTS) break;
    top = top.flatMap((row) => (row === largest ? inner : [row]));
  }
  const adds = { before: new Map(tree.before.map((one) => [one.path, one.multiply_adds ?? 0])), after: new Map(tree.after.map((one) => [one.path, one.multiply_adds ?? 0])) };
  const places = new Map(rows.map((row, index) => [row, index]));
  const sized = top.map((row) => sizeOf(row, rows.slice(places.get(row), places.get(row) + row.below + 1), adds));
  const each = Math.ceil(sized.length / MOST_PARTS);
  return each > 1 ? together(sized, each) : sized;
}

function sizeOf(row, inside, adds) {
  const sum = (when) => inside.reduce((total, one) => total + (adds[when].get(one.path) ?? 0), 0);
  return { path: row.path, name: row.path, before: { parameters: row.first, multiply_adds: sum("before") }, after: { parameters: row.last, multiply_adds: sum("after") } };
}

function together(parts, each) {
  const groups = [];
  for (let at = 0; at < parts.length; at += each) {
    const group = parts.slice(at, at + each);
    const sum = (when, name) => group.reduce((total, one) => total + one[when][name], 0);
    const all = (when) => ({ parameters: sum(when, "parameters"), multiply_adds: sum(when, "multiply_adds") });
    groups.push({ path: group[0].path, name: group.length > 1 ? `${group[0].name} to ${group.at(-1).name}` : group[0].name, before: all("before"), after: all("after") });
  }
  return groups;
}
