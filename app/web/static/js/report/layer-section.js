// The layers before and after, side by side: searched, filtered, folded, and each one explained.

import { h } from "../lib/dom.js";
import { change, count, number, plural } from "../lib/format.js";
import { treeGrid } from "./grid.js";
import { layerDetail } from "./layer-detail.js";
import { FATES, foldedAtFirst, visibleRows } from "./tree.js";

/** The section, and `show(path)` which leads to a layer in it. */
export function layerSection(report, rows) {
  const folded = foldedAtFirst(rows);
  const wanted = { query: "", fate: "" };
  const isFolded = (row) => folded.has(row) && !wanted.query && !wanted.fate;
  const detail = h("div", { class: "layer-detail", "aria-live": "polite" }, hint());
  const told = h("p", { class: "hint", role: "status" });
  const grid = treeGrid({ label: "Layers before and after", columns: ["Layer", "Before", "After", "Parameters"], cells: (row) => cells(row, isFolded(row)), isFolded, fold, pick: (row) => detail.replaceChildren(layerDetail(row, report)) });

  function refresh() {
    const seen = visibleRows(rows, folded, wanted);
    told.textContent = wanted.query || wanted.fate ? `${plural(seen.length, "row")} of ${number(rows.length)}` : plural(rows.length, "layer");
    grid.set(seen);
  }

  function fold(row, on) {
    if (on) folded.add(row);
    else folded.delete(row);
    refresh();
  }

  function foldAll(on) {
    folded.clear();
    if (on) for (const row of rows) if (row.below) folded.add(row);
    refresh();
  }

  function show(path) {
    const row = rows.find((one) => one.path === path) ?? rows.find((one) => one.path.startsWith(path));
    if (!row) return;
    Object.assign(wanted, { query: "", fate: "" });
    tools.clear();
    for (let up = row.parent; up; up = up.parent) folded.delete(up);
    refresh();
    grid.element.scrollIntoView({ block: "center" });
    grid.select(row);
  }

  const tools = toolbar(rows, wanted, refresh, foldAll);
  refresh();
  const section = h(
    "section",
    { "aria-labelledby": "layers-title" },
    h("div", { class: "section-head" }, h("h2", { id: "layers-title" }, "Layers before and after"), told),
    !report.tree && h("p", { class: "note" }, "The file has too many layers to list them all: these are the places that changed."),
    h("p", { class: "hint" }, h("code", {}, report.input.detected.model_class)),
    tools.element,
    h("div", { class: "grid-frame" }, grid.element, detail),
  );
  return { section, show };
}

function hint() {
  return h("p", { class: "hint" }, "Choose a layer to see what happened to it, and why. Arrow keys move and fold.");
}

function toolbar(rows, wanted, refresh, foldAll) {
  const search = h("input", { type: "search", placeholder: "Search layers", "aria-label": "Search layers by path or kind", oninput: () => find(search.value) });
  const counts = Object.keys(FATES).map((fate) => [fate, rows.filter((row) => row.fate === fate).length]);
  const all = [["", "All", rows.length], ["changed", "Changed", rows.filter((row) => row.fate).length], ...counts.filter(([, size]) => size).map(([fate, size]) => [fate, FATES[fate], size])];
  const buttons = all.map(([fate, name, size]) => h("button", { type: "button", class: `chip ${fate}`, "aria-pressed": String(fate === ""), onclick: (event) => filter(fate, event.currentTarget) }, `${name.charAt(0).toUpperCase()}${name.slice(1)} `, h("span", {}, number(size))));
  const folds = [h("button", { type: "button", class: "chip", onclick: () => foldAll(false) }, "Unfold all"), h("button", { type: "button", class: "chip", onclick: () => foldAll(true) }, "Fold all")];

  function find(text) {
    wanted.query = text.trim();
    refresh();
  }

  function filter(fate, button) {
    for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
    wanted.fate = fate;
    refresh();
  }

  function clear() {
    search.value = "";
    for (const one of buttons) one.setAttribute("aria-pressed", String(one === buttons[0]));
  }

  const filters = h("div", { class: "chips", role: "group", "aria-label": "Which layers" }, buttons);
  const element = h("div", { class: "tools" }, search, filters, rows.some((row) => row.below) && h("div", { class: "chips folds", role: "group", "aria-label": "Folding" }, folds));
  return { element, clear };
}

function cells(row, isFolded) {
  const twist = row.below ? h("span", { class: `twist ${isFolded ? "folded" : ""}`, "aria-hidden": "true" }) : h("span", { class: "twist none", "aria-hidden": "true" });
  const inside = row.below && isFolded && row.changed - (row.fate ? 1 : 0) > 0 ? h("span", { class: "inside" }, `${number(row.changed)} changed`) : null;
  return [
    [twist, h("span", { class: "path", title: row.path }, row.name || row.path || "(model)"), inside],
    h("span", { class: "was" }, row.before?.text ?? "—"),
    [row.fate && h("span", { class: `tag ${row.fate}` }, FATES[row.fate]), h("span", { class: "is" }, afterText(row))],
    parameters(row),
  ];
}

function afterText(row) {
  if (row.fate === "merged") return row.before.into ? ["into ", h("bdi", {}, row.before.into)] : "";
  return row.after?.text ?? "";
}

function parameters({ first, last }) {
  if (first === 0 && last === 0) return "";
  if (first === last) return count(first);
  return [h("span", { class: "from", title: `${number(first)} to ${number(last)} (${change(first, last)})` }, count(first)), h("span", { "aria-label": "to" }, " → "), count(last)];
}
