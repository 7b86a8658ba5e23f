// An error as people need it: what happened, what to do, and the code to search for.

import { h } from "./dom.js";
import { sentence } from "./format.js";
import { Problem, Unreachable } from "./service.js";

// What the panel says in its own words, and the proposals that are offered as ways on.
const USUAL = new Set(["type", "title", "status", "detail", "code", "remedy", "instance", "matches", "near_matches"]);

/** Any error that asking the service may throw, as something to show. */
export function problemOf(error) {
  if (error instanceof Problem) return error.document;
  if (error instanceof Unreachable) {
    return {
      title: "The service does not answer",
      detail: "The connection could not be made, or was lost.",
      remedy: "Check that the service runs and that you are connected; then try again.",
      code: "unreachable",
    };
  }
  throw error;
}

/** A panel for a problem document; `actions` stand below it. */
export function problemPanel(problem, ...actions) {
  return h(
    "div",
    { class: "problem card" },
    h("h2", {}, problem.title),
    h("p", { class: "detail" }, sentence(problem.detail)),
    problem.remedy && h("div", { class: "remedy" }, h("h3", {}, "What to do"), h("p", {}, sentence(problem.remedy))),
    facts(problem),
    h("p", { class: "code" }, "Code ", h("code", {}, problem.code)),
    actions,
  );
}

function facts(problem) {
  const names = Object.keys(problem).filter((name) => !USUAL.has(name));
  if (!names.length) return null;
  return h(
    "details",
    {},
    h("summary", {}, "Details"),
    h("dl", { class: "facts" }, names.map((name) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, fact(problem[name]))])),
  );
}

function fact(value) {
  if (Array.isArray(value)) return value.map((one) => h("code", {}, typeof one === "string" ? one : JSON.stringify(one)));
  return typeof value === "object" && value !== null ? h("code", {}, JSON.stringify(value)) : String(value);
}
