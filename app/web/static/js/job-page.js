// A job's page: live while it goes on, then its report, or why there is none.

import { downloadLink } from "./download.js";
import { switchColours } from "./lib/colours.js";
import { byId, copyButton, h } from "./lib/dom.js";
import { ago, bytes, duration } from "./lib/format.js";
import { offerKey } from "./lib/key.js";
import { problemOf, problemPanel } from "./lib/problem.js";
import { ask, at } from "./lib/service.js";
import { STATES, isOver } from "./lib/states.js";
import { phaseList, recognisedCard, recognisedLine, spoken } from "./phases.js";
import { reportView } from "./report/view.js";
import { watch } from "./watch.js";

const id = byId("job").dataset.id;
const path = `/v1/jobs/${encodeURIComponent(id)}`;
let said = "";
let shown = null;

switchColours(byId("theme-button"));
offerKey(() => location.reload());
setInterval(() => shown && tell(shown), 1000);
run();

async function run() {
  try {
    const job = await (await ask(path)).json();
    show(job);
    if (!isOver(job)) await watch(id, show, lost);
  } catch (error) {
    byId("state").hidden = true;
    byId("live").replaceChildren();
    byId("problem").replaceChildren(problemPanel(problemOf(error), again()));
  }
}

function lost(gone) {
  byId("lost").hidden = !gone;
  byId("lost").textContent = gone ? "The connection to the service is lost. Trying again; the job goes on." : "";
}

function show(job) {
  const before = shown;
  shown = job;
  const [word, tone] = STATES[job.state];
  document.title = `${job.input.filename} (${word}): Fusebox`;
  byId("filename").textContent = job.input.filename;
  byId("state").textContent = word;
  byId("state").className = `pill ${tone}`;
  tell(job);
  if (before?.state !== job.state) byId("actions").replaceChildren(...actions(job));
  if (isOver(job)) {
    end(job, before).catch((error) => byId("problem").replaceChildren(problemPanel(problemOf(error), again())));
    return;
  }
  byId("live").replaceChildren(phaseList(job), recognisedCard(job));
  announce(spoken(job));
}

/** The line below the name; how long it has been going changes by itself. */
function tell(job) {
  const began = job.started_at && Date.parse(job.started_at);
  const ended = job.finished_at ? Date.parse(job.finished_at) : Date.now();
  const took = began && ended > began ? `${job.finished_at ? "took" : "running for"} ${duration((ended - began) / 1000)}` : null;
  byId("about").textContent = [recognisedLine(job.recognised), bytes(job.input.bytes), `sent ${ago(job.created_at)}`, took, job.attempts > 1 && `attempt ${job.attempts}`, `job ${job.id.slice(0, 8)}`].filter(Boolean).join(" · ");
}

function announce(text) {
  if (text === said) return;
  said = text;
  byId("announced").textContent = text;
}

async function end(job, before) {
  if (before && isOver(before) && before.state === job.state) return;
  byId("live").replaceChildren();
  byId("report").replaceChildren();
  byId("problem").replaceChildren();
  if (job.state === "succeeded") await showReport(job);
  else byId("problem").replaceChildren(problemPanel(reason(job), again()));
  announce(job.state === "succeeded" ? "Fused. The report is below." : `The job ended: ${STATES[job.state][0]}.`);
}

function reason(job) {
  if (job.state === "failed" && job.problem) return job.problem;
  if (job.state === "canceled") return { title: "The job was canceled", detail: "Nothing of the file is kept.", remedy: "Upload the checkpoint again if you want it fused.", code: "job-canceled" };
  return { title: "The job’s files are gone", detail: "They were deleted, or kept as long as this service keeps files.", remedy: "Upload the checkpoint again.", code: "job-expired" };
}

async function showReport(job) {
  const [report, snippet] = await Promise.all([ask(`${path}/report`), ask(`${path}/comparison.py`)]);
  const view = reportView(await report.json(), { snippet: await snippet.text(), plot: loadPlot });
  byId("report").replaceChildren(view);
}

let plot = null;

/** uPlot, fetched when a chart is first drawn. */
function loadPlot() {
  plot ??= new Promise((resolve, reject) => {
    const src = `${document.body.dataset.static}/vendor/uplot/uPlot.iife.min.js`;
    document.head.append(h("script", { src, onload: () => resolve(globalThis.uPlot), onerror: reject }));
  });
  return plot;
}

function actions(job) {
  const link = copyButton("Copy link", () => location.href);
  if (job.state === "succeeded") return [...downloads(job), link, ender("Delete", "Delete the file and its report?")];
  if (!isOver(job)) return [link, ender("Cancel the job", null)];
  return [link];
}

function downloads(job) {
  const stem = job.output.filename;
  return [
    downloadLink(`Download ${bytes(job.output.bytes)}`, `${path}/model`, stem, { main: true }),
    downloadLink("With report (zip)", `${path}/bundle`, `${stem}.zip`),
    downloadLink("Report, HTML", `${path}/report.html`, `${stem}.report.html`, { open: true }),
    downloadLink("Markdown", `${path}/report.md`, `${stem}.report.md`),
    downloadLink("JSON", `${path}/report`, `${stem}.report.json`),
  ];
}

function ender(label, question) {
  return h("button", { type: "button", class: "quiet", onclick: finish }, label);
  async function finish() {
    if (question && !confirm(question)) return;
    try {
      show(await (await ask(path, { method: "DELETE" })).json());
    } catch (error) {
      byId("problem").replaceChildren(problemPanel(problemOf(error)));
    }
  }
}

function again() {
  return h("a", { class: "button quiet", href: at("/") }, "Fuse another file");
}
