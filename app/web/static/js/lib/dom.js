// Elements from values. Texts become text nodes and nothing else: what a file says is never read as HTML, and none of
// its characters goes unseen.

import { visible } from "./visible.js";

const READ = /^(title|aria-(label|description|valuetext))$/; // attributes that people see or hear

/** An element with attributes (`onclick` and the like are listeners; null and false are left out) and children. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for pictures. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : READ.test(name) ? visible(String(value)) : value);
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...shown.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return element;
}

/** The element of this id; a page without it is a bug. */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`there is no #${id}`);
  return found;
}

let numbered = 0;

/** An id that nothing else on the page has. */
export function freshId(prefix) {
  numbered += 1;
  return `${prefix}-${numbered}`;
}

/** A button that copies a text and says so. */
export function copyButton(label, text) {
  const button = h("button", { type: "button", class: "quiet", onclick: copy }, label);
  async function copy() {
    const copied = await put(text());
    button.textContent = copied ? "Copied" : "Could not copy";
    setTimeout(() => (button.textContent = label), 1600);
  }
  return button;
}

async function put(text) {
  try {
    // Only on pages that the browser trusts; a plain http address elsewhere has no clipboard.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
