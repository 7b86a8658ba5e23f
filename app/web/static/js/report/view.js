// The report as people read it: can it be trusted, what did it bring, what happened to which layer.

import { copyButton, h } from "../lib/dom.js";
import { charts } from "./charts.js";
import { figures } from "./figures.js";
import { latencySection } from "./latency.js";
import { layerSection } from "./layer-section.js";
import { aboutSection, noteSection } from "./notes.js";
import { layerRows } from "./tree.js";
import { verdict } from "./verdict.js";

/**
 * A report as elements, made part by part: a page with ten thousand layers answers in between. `plot` gives uPlot when
 * a chart is drawn; `snippet` is the program that compares both files.
 */
export async function reportView(report, { snippet, plot }) {
  const rows = layerRows(report);
  await breath();
  const layers = layerSection(report, rows);
  await breath();
  const drawn = charts(report, rows, plot, layers.show);
  await breath();
  return h(
    "div",
    { class: "report" },
    verdict(report),
    figures(report),
    noteSection(report, layers.show),
    layers.section,
    drawn,
    latencySection(report.latency),
    snippetSection(snippet),
    aboutSection(report),
  );
}

/** Let what waits be done first: keys, clicks, drawing. */
const breath = () => new Promise((resolve) => setTimeout(resolve));

function snippetSection(snippet) {
  if (!snippet) return null;
  return h(
    "section",
    { "aria-labelledby": "try-title" },
    h("div", { class: "section-head" }, h("h2", { id: "try-title" }, "Try it yourself"), copyButton("Copy", () => snippet)),
    h("p", { class: "hint" }, "Loads both files where your own classes are, and compares the outputs."),
    h("pre", { class: "snippet", tabindex: "0", role: "region", "aria-label": "Program that compares both files" }, h("code", {}, document.createTextNode(snippet))),
  );
}
