// What to do about a job that ended without a file: other options, and the architectures that its problem proposes.

import { h } from "./lib/dom.js";
import { at } from "./lib/service.js";
import { toFragment } from "./options.js";

const MOST = 5;

/**
 * Ways on from a job, given the problem that it ended with. `held` can `edit(options)` and `send(options)` the file that
 * was sent; without it the file has to be chosen again, on a form that has the options already.
 */
export function waysOn(job, problem, held) {
  const options = job?.options ?? {};
  return [
    proposals(problem, options, held),
    h("div", { class: "row" }, job && otherOptions(options, held), h("a", { class: "button quiet", href: at("/") }, "Fuse another file")),
  ];
}

function otherOptions(options, held) {
  if (held) return h("button", { type: "button", class: "quiet", onclick: () => held.edit(options) }, "Same file, other options");
  return h("a", { class: "button quiet", href: at(`/${toFragment(options)}`) }, "Choose the file again, with other options");
}

function proposals(problem, options, held) {
  const names = [...(problem.matches ?? []).map((one) => [one.architecture, one.why]), ...(problem.near_matches ?? []).map((name) => [name, ""])];
  if (!names.length) return null;
  return h(
    "div",
    { class: "proposals" },
    h("h3", {}, held ? "Send the same file again as" : "Choose the file again as"),
    h("ul", {}, names.slice(0, MOST).map(([name, why], place) => h("li", {}, proposal({ ...options, architecture: name }, held, place ? "quiet" : "main"), why && h("span", { class: "hint" }, why)))),
  );
}

function proposal(options, held, tone) {
  if (held) return h("button", { type: "button", class: tone, onclick: () => held.send(options) }, options.architecture);
  return h("a", { class: `button ${tone}`, href: at(`/${toFragment(options)}`) }, options.architecture);
}
