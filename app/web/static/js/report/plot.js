// A chart by uPlot: drawn when it comes into sight or on paper, and anew when its width or the colours change.

import { h } from "../lib/dom.js";
import { onPaper, whenPrinted } from "./print.js";

const HEIGHT = 260;

/** What a colour of the style sheet is now: a canvas knows no variables. */
export function colour(element, name) {
  const probe = h("span", {});
  element.append(probe);
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** One chart; `describe(element, uPlot)` gives its columns and options, `pick(index)` is told where it is clicked. */
export class Drawn {
  element = h("div", { class: "plot" });
  #load;
  #describe;
  #pick;
  #chart = null;
  #width = 0;

  constructor(load, describe, pick) {
    this.#load = load;
    this.#describe = describe;
    this.#pick = pick;
    const sight = new IntersectionObserver((seen) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      sight.disconnect();
      this.redraw();
      new ResizeObserver(() => this.#resized()).observe(this.element);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
      new MutationObserver(() => this.redraw()).observe(document.documentElement, { attributeFilter: ["data-colours"] });
    }, { rootMargin: "200px" });
    sight.observe(this.element);
    whenPrinted(() => (this.#chart || onPaper()) && this.redraw());
  }

  async redraw() {
    const uPlot = globalThis.uPlot ?? (await this.#load()); // at once if it can be: paper does not wait
    this.#chart?.destroy();
    const { columns, options } = this.#describe(this.element, uPlot);
    this.#width = this.element.clientWidth;
    this.#chart = new uPlot({ ...this.#usual(), ...options, axes: options.axes.map((axis) => ({ ...this.#axis(), ...axis })), width: this.#width, height: HEIGHT }, columns, this.element);
    this.#chart.over.addEventListener("click", () => this.#chart.cursor.idx !== null && this.#pick(this.#chart.cursor.idx));
  }

  #resized() {
    const width = this.element.clientWidth;
    if (!this.#chart || width === this.#width) return;
    this.#width = width;
    this.#chart.setSize({ width, height: HEIGHT });
  }

  #usual() {
    return { cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } }, legend: { live: true }, padding: [12, 8, 0, 0] };
  }

  #axis() {
    const line = colour(this.element, "--line");
    const font = `12px ${getComputedStyle(this.element).fontFamily}`;
    return { stroke: colour(this.element, "--soft"), font, labelFont: font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 5 } };
  }
}
