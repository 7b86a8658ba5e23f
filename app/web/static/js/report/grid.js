// A table of any number of rows, of which only those in sight are elements. Keys move and fold as in any tree.

import { freshId, h } from "../lib/dom.js";
import { onPaper, whenPrinted } from "./print.js";

const BEYOND = 12; // rows above and below that are there already when the wheel turns
const ON_PAPER = 2000; // rows: some forty pages
const NARROW = matchMedia("(max-width: 46rem)");
const rowHeight = () => (NARROW.matches ? 54 : 34);
const headHeight = () => (NARROW.matches ? 0 : 35); // the names of the columns

/** A treegrid: `cells(row)` makes a row's cells; `fold(row, on)` and `pick(row)` are told what the reader does. */
export function treeGrid({ label, columns, cells, isFolded, fold, pick }) {
  const id = freshId("layers");
  const body = h("div", { role: "rowgroup", class: "grid-body" });
  const head = h("div", { role: "rowgroup", class: "grid-head" }, h("div", { role: "row", "aria-rowindex": "1" }, columns.map((name) => h("span", { role: "columnheader" }, name))));
  const grid = h("div", { role: "treegrid", class: "grid", tabindex: "0", "aria-label": label, "aria-colcount": String(columns.length) }, head, body);
  const shown = new Map();
  let rows = [];
  let active = -1;

  grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  grid.addEventListener("keydown", (event) => key(event));
  grid.addEventListener("focus", () => active < 0 && rows.length && move(0, false));
  body.addEventListener("click", (event) => clicked(event));
  NARROW.addEventListener("change", redraw);
  whenPrinted(redraw);
  new ResizeObserver(() => draw()).observe(grid);

  function set(next) {
    const kept = rows[active];
    rows = next;
    active = kept ? rows.indexOf(kept) : -1;
    grid.setAttribute("aria-rowcount", String(rows.length + 1));
    redraw();
  }

  function redraw() {
    body.style.height = `${rows.length * rowHeight()}px`;
    // No taller than its rows; the style sheet says how tall it may become.
    grid.style.height = `${Math.max(rows.length, 1) * rowHeight() + headHeight()}px`;
    for (const element of shown.values()) element.remove();
    shown.clear();
    draw();
  }

  function draw() {
    const height = rowHeight();
    const first = onPaper() ? 0 : Math.max(0, Math.floor(grid.scrollTop / height) - BEYOND);
    const last = Math.min(rows.length, onPaper() ? ON_PAPER : Math.ceil((grid.scrollTop + grid.clientHeight) / height) + BEYOND);
    for (const [index, element] of shown) {
      if (index < first || index >= last) {
        element.remove();
        shown.delete(index);
      }
    }
    const fresh = [];
    for (let index = first; index < last; index += 1) if (!shown.has(index)) fresh.push(make(index, height));
    body.append(...fresh);
    name();
  }

  function make(index, height) {
    const row = rows[index];
    const element = h(
      "div",
      { role: "row", id: `${id}-${index}`, class: row.fate || "kept", "aria-rowindex": String(index + 2), "aria-level": String(row.depth + 1), "aria-expanded": row.below ? String(!isFolded(row)) : null, "aria-selected": String(index === active) },
      cells(row).map((cell) => h("span", { role: "gridcell" }, cell)),
    );
    element.dataset.index = String(index);
    element.style.transform = `translateY(${index * height}px)`;
    element.style.setProperty("--depth", String(Math.min(row.depth, 12)));
    shown.set(index, element);
    return element;
  }

  function name() {
    if (shown.has(active)) grid.setAttribute("aria-activedescendant", `${id}-${active}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function move(index, tell = true) {
    shown.get(active)?.setAttribute("aria-selected", "false");
    active = Math.max(0, Math.min(rows.length - 1, index));
    reveal();
    draw();
    shown.get(active)?.setAttribute("aria-selected", "true");
    name();
    if (tell) pick(rows[active]);
  }

  function reveal() {
    const height = rowHeight();
    const room = grid.clientHeight - head.offsetHeight;
    const top = active * height;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + height > grid.scrollTop + room) grid.scrollTop = top + height - room;
  }

  function clicked(event) {
    const element = event.target.closest("[data-index]");
    if (!element) return;
    const row = rows[Number(element.dataset.index)];
    move(Number(element.dataset.index));
    if (event.target.closest(".twist")) fold(row, !isFolded(row));
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(grid.clientHeight / rowHeight()) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length };
    const row = rows[active];
    if (event.key in steps) move(Math.max(active, 0) + steps[event.key]);
    else if (event.key === "ArrowRight" && row?.below) isFolded(row) ? fold(row, false) : move(active + 1);
    else if (event.key === "ArrowLeft" && row) row.below && !isFolded(row) ? fold(row, true) : row.parent && move(rows.indexOf(row.parent));
    else if ((event.key === "Enter" || event.key === " ") && row?.below) fold(row, !isFolded(row));
    else return;
    event.preventDefault();
  }

  return { element: grid, set, select: (row) => rows.includes(row) && move(rows.indexOf(row)) };
}
