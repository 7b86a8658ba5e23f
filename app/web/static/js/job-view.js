// A job as people see it: live while it goes on, then its report, or why there is none.

import { waysOn } from "./again.js";
import { downloads } from "./download.js";
import { byId, copyButton, h } from "./lib/dom.js";
import { ago, bytes, duration } from "./lib/format.js";
import { keysNeeded } from "./lib/key.js";
import { problemOf, problemPanel } from "./lib/problem.js";
import { Unreachable, ask, at } from "./lib/service.js";
import { STATES, isOver } from "./lib/states.js";
import { visible } from "./lib/visible.js";
import { phaseList, recognisedCard, recognisedLine, spoken } from "./phases.js";
import { isUntouched } from "./report/verdict.js";
import { reportView } from "./report/view.js";
import { watch } from "./watch.js";

/** One job on the page, from `open` to `close`. `held` is the file that was sent, if the page still has it. */
export class JobView {
  id;
  #path;
  #held;
  #shown = null;
  #said = "";
  #closed = new AbortController();
  #clock = null;
  #name = h("h1", { id: "filename", tabindex: "-1" });
  #state = h("span", { class: "pill quiet", id: "state" }, "looking …");
  #about = h("p", { class: "hint", id: "about" });
  #actions = h("div", { class: "row", id: "actions" });
  #lost = h("p", { class: "note warn", id: "lost", role: "status", hidden: true });
  #announced = h("p", { class: "unseen", id: "announced", "aria-live": "polite" });
  #live = h("div", { id: "live" });
  #problem = h("div", { id: "problem", role: "alert" });
  #report = h("div", { id: "report" });

  constructor(id, held = null) {
    this.id = id;
    this.#path = `/v1/jobs/${encodeURIComponent(id)}`;
    this.#held = held;
    this.#name.append(visible(`Job ${id.slice(0, 8)}`));
    this.element = h(
      "div",
      {},
      h(
        "div",
        { class: "head" },
        h("p", { class: "crumb" }, h("a", { href: at("/") }, "Fuse another file")),
        h("div", { class: "title" }, this.#name, this.#state),
        this.#about,
        this.#actions,
      ),
      this.#lost,
      this.#announced,
      this.#live,
      this.#problem,
      this.#report,
    );
  }

  /** Begin to follow the job. */
  open() {
    this.#clock = setInterval(() => this.#shown && this.#tell(this.#shown), 1000);
    this.#run();
  }

  /** No longer ask for it. */
  close() {
    this.#closed.abort();
    clearInterval(this.#clock);
    this.element.remove();
  }

  /** For those who listen, and for the keys: the page is about this job now. */
  focus() {
    this.#name.focus();
  }

  async #run() {
    this.#problem.replaceChildren();
    try {
      const job = await (await ask(this.#path)).json();
      this.#show(job);
      if (!isOver(job)) await watch(job.id, (next) => this.#show(next), (gone) => this.#lose(gone), this.#closed.signal);
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.#state.hidden = this.#shown === null;
      this.#live.replaceChildren();
      this.#fail(error);
    }
  }

  /** What asking went wrong with: not the job's own end. */
  #fail(error) {
    const problem = problemOf(error);
    const retry = error instanceof Unreachable && h("button", { type: "button", class: "quiet", onclick: () => this.#run() }, "Try again");
    const key = problem.status === 401 && keysNeeded() && h("button", { type: "button", class: "quiet", onclick: () => byId("key-button").click() }, "Enter another key");
    this.#problem.replaceChildren(problemPanel(problem, h("div", { class: "row" }, retry, key, h("a", { class: "button quiet", href: at("/") }, "Fuse another file"))));
  }

  #lose(gone) {
    this.#lost.hidden = !gone;
    this.#lost.textContent = gone ? "The connection to the service is lost. Trying again; the job goes on." : "";
  }

  #show(job) {
    if (this.#closed.signal.aborted) return;
    const before = this.#shown;
    this.#shown = job;
    const [word, tone] = STATES[job.state];
    this.#name.replaceChildren(visible(job.input.filename));
    this.#mark(word, tone);
    this.#tell(job);
    if (before?.state !== job.state) this.#actions.replaceChildren(...this.#buttons(job));
    if (isOver(job)) {
      this.#end(job, before).catch((error) => this.#fail(error));
      return;
    }
    this.#live.replaceChildren(phaseList(job), recognisedCard(job));
    this.#announce(spoken(job));
  }

  /** The state in a word, at the head of the page and in the title of the tab. */
  #mark(word, tone) {
    document.title = `${visible(this.#shown.input.filename)} (${word}): Fusebox`;
    this.#state.textContent = word;
    this.#state.className = `pill ${tone}`;
  }

  /** The line below the name; how long it has been going changes by itself. */
  #tell(job) {
    const began = job.started_at && Date.parse(job.started_at);
    const ended = job.finished_at ? Date.parse(job.finished_at) : Date.now();
    const took = began && ended > began ? `${job.finished_at ? "took" : "running for"} ${duration((ended - began) / 1000)}` : null;
    const line = [recognisedLine(job.recognised), bytes(job.input.bytes), `sent ${ago(job.created_at)}`, took, job.attempts > 1 && `attempt ${job.attempts}`, `job ${job.id.slice(0, 8)}`].filter(Boolean).join(" · ");
    this.#about.textContent = visible(line);
  }

  #announce(text) {
    if (text === this.#said) return;
    this.#said = text;
    this.#announced.textContent = text;
  }

  async #end(job, before) {
    if (before && isOver(before) && before.state === job.state) return;
    this.#live.replaceChildren();
    this.#report.replaceChildren();
    this.#problem.replaceChildren();
    if (job.state === "succeeded") await this.#showReport(job);
    else this.#problem.replaceChildren(problemPanel(reason(job), waysOn(job, reason(job), this.#held)));
    if (job.state !== "succeeded") this.#announce(`The job ended: ${STATES[job.state][0]}.`);
  }

  async #showReport() {
    const [report, snippet] = await Promise.all([ask(`${this.#path}/report`), ask(`${this.#path}/comparison.py`)]);
    const found = await report.json();
    const view = await reportView(found, { snippet: await snippet.text(), plot: loadPlot });
    if (isUntouched(found)) this.#mark("unchanged", "quiet");
    this.#report.replaceChildren(view);
    this.#announce(isUntouched(found) ? "Done: nothing was fused. The report is below." : "Fused. The report is below.");
  }

  #buttons(job) {
    const link = copyButton("Copy link", () => location.href);
    if (job.state === "succeeded") return [...downloads(job), link, this.#ender("Delete", "Delete the file and its report?")];
    return isOver(job) ? [link] : [link, this.#ender("Cancel the job", null)];
  }

  #ender(label, question) {
    const finish = async () => {
      if (question && !confirm(question)) return;
      try {
        this.#show(await (await ask(this.#path, { method: "DELETE" })).json());
      } catch (error) {
        this.#problem.replaceChildren(problemPanel(problemOf(error)));
      }
    };
    return h("button", { type: "button", class: "quiet", onclick: finish }, label);
  }
}

function reason(job) {
  if (job.state === "failed" && job.problem) return job.problem;
  if (job.state === "canceled") return { title: "The job was canceled", detail: "Nothing of the file is kept.", remedy: "Send the checkpoint again if you want it fused.", code: "job-canceled" };
  return { title: "The job’s files are gone", detail: "They were deleted, or kept as long as this service keeps files.", remedy: "Send the checkpoint again.", code: "job-expired" };
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
