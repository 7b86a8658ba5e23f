// Where a job stands, step by step, and what its file was recognised as.

import { h } from "./lib/dom.js";
import { bytes, number, plural } from "./lib/format.js";

const STEPS = [
  ["queued", "Waiting", "for a free worker"],
  ["validating", "Checking", "whole, and safe to read"],
  ["reading", "Reading", "layers and weights"],
  ["fusing", "Fusing", "in float64"],
  ["verifying", "Comparing", "outputs before and after"],
  ["writing", "Writing", "the file and the report"],
  ["measuring", "Measuring", "the speed before and after"],
];

/** The steps of a job that goes on. */
export function phaseList(job) {
  const steps = STEPS.filter(([name]) => name !== "measuring" || job.options.benchmark);
  const now = steps.findIndex(([name]) => name === (job.state === "queued" ? "queued" : (job.phase ?? "validating")));
  return h("ol", { class: "phases" }, steps.map((step, at) => item(step, at, now, job)));
}

function item([name, word, about], at, now, job) {
  const where = at < now ? "past" : at === now ? "now" : "ahead";
  const place = name === "queued" && where === "now" && job.queue_position ? `place ${job.queue_position} in the queue` : about;
  return h(
    "li",
    { class: where, "aria-current": where === "now" && "step" },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "word" }, word, where === "past" && h("span", { class: "unseen" }, " (done)")),
    h("span", { class: "hint" }, place),
  );
}

/** One sentence for those who listen. */
export function spoken(job) {
  if (job.state === "queued") return job.queue_position ? `Waiting, place ${job.queue_position} in the queue.` : "Waiting for a worker.";
  const step = STEPS.find(([name]) => name === job.phase);
  return step ? `${step[1]}: ${step[2]}.` : "";
}

const SOURCES = { ema: "EMA weights (“ema”)", model: "the model itself (“model”)", "": "the file is the model" };

/** The same in a few words, for the line below a name: null before anything is known. */
export function recognisedLine(found) {
  if (!found) return null;
  return [found.family, found.classes !== null && plural(found.classes, "class", "classes"), found.dtype].filter(Boolean).join(" · ");
}

/** What the file holds, before anything is fused. */
export function recognisedCard(job) {
  const found = job.recognised;
  if (!found) return h("section", { class: "card recognised" }, h("h2", {}, "What it is"), h("p", { class: "hint" }, "Looking into the file …"));
  const rows = [
    ["Family", [found.family, found.variant].filter(Boolean).join(", ") || "not a known one"],
    ["Class", h("code", {}, dotted(found.model_class))],
    ["Weights", SOURCES[found.source] ?? `“${found.source}”`],
    ["Architecture", found.architecture],
    ["Classes", found.classes],
    ["Type", found.dtype],
    ["Parameters", number(found.parameters)],
    ["Layers", `${number(found.convolutions)} convolutions, ${number(found.batch_norms)} batch norms`],
    ["Input", found.input_size?.join(" × ")],
    ["File", `${bytes(job.input.bytes)}, ${found.format}`],
  ];
  const told = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("section", { class: "card recognised" }, h("h2", {}, "What it is"), h("dl", {}, told.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

/** A class path that may be broken behind its dots. */
function dotted(path) {
  return path.split(/(?<=\.)/).flatMap((part) => [part, h("wbr")]);
}
