// The upload page: choose a file, look at the options, send it, watch its job. The file stays chosen, to be sent again.

import { takeFiles, whyNot } from "./file-choice.js";
import { switchColours } from "./lib/colours.js";
import { byId, h } from "./lib/dom.js";
import { askForKey, keysNeeded, offerKey, storedKey } from "./lib/key.js";
import { problemOf, problemPanel } from "./lib/problem.js";
import { Unreachable, at } from "./lib/service.js";
import { changedOptions, fromFragment, setOptions } from "./options.js";
import { showRecent } from "./recent.js";
import { showSending } from "./sending.js";
import { Canceled, upload } from "./upload.js";

const form = byId("upload");
const title = document.title;
let sending = null;
let view = null;

switchColours(byId("theme-button"));
takeFiles(fileChosen);
showRecent(byId("recent"));
offerKey(() => (view ? location.reload() : showRecent(byId("recent"))));
form.addEventListener("submit", submit);
form.addEventListener("input", countChanges);
byId("cancel").addEventListener("click", () => sending?.cancel());
addEventListener("beforeunload", (event) => sending && event.preventDefault());
addEventListener("pageshow", (event) => event.persisted && showRecent(byId("recent")));
addEventListener("popstate", () => !sending && showAddress());
addEventListener("hashchange", beginWith);
beginWith();

function fileChosen(file) {
  byId("upload-problem").replaceChildren();
  const reason = file && whyNot(file);
  byId("submit").disabled = Boolean(reason);
  if (file === null) return;
  const weights = /\.safetensors$/i.test(file.name);
  byId("before").textContent = reason ?? (weights ? "A safetensors file holds weights only: name the architecture in the options." : "Nothing is sent before you press the button.");
  if (weights) byId("options").open = true;
}

function countChanges() {
  const changed = changedOptions(form).size;
  byId("changed").textContent = changed ? `${changed} changed` : "The defaults fit most files.";
}

/** The options that the address brings, from the page of an earlier job. */
function beginWith() {
  setOptions(form, fromFragment(location.hash));
  if (changedOptions(form).size) byId("options").open = true;
  countChanges();
}

async function submit(event) {
  event.preventDefault();
  if (sending) return;
  if (keysNeeded() && !storedKey() && !(await askForKey("This service asks for a key before it takes a file."))) return;
  byId("upload-problem").replaceChildren();
  byId("before").textContent = "";
  const code = import("./job-view.js").catch(() => null); // comes while the file leaves
  show(true);
  try {
    sending = upload(form, showSending(form.elements.model.files[0].name));
    const job = await sending.done;
    sending = null;
    await follow(job.id, await code);
  } catch (error) {
    sending = null;
    show(false);
    await showFailure(error);
  }
}

/** What was accepted is shown by this page, which still has the file; without the code for it, by the job's own. */
async function follow(id, code) {
  const address = at(`/jobs/${encodeURIComponent(id)}`);
  if (!code) {
    location.assign(address);
    return;
  }
  history.pushState(null, "", address);
  await showAddress();
}

/** The job that the address names, or the form. */
async function showAddress() {
  const [, written] = location.pathname.split(at("/jobs/"));
  const id = written && decodeURIComponent(written);
  if (id === view?.id) return;
  view?.close();
  view = null;
  show(false);
  byId("start").hidden = Boolean(id);
  document.title = title;
  if (!id) return showRecent(byId("recent"));
  for (const style of document.querySelectorAll("link[media='not all']")) style.media = "all";
  const { JobView } = await import("./job-view.js");
  view = new JobView(id, { edit, send });
  byId("job").replaceChildren(view.element);
  view.open();
  scrollTo(0, 0);
  view.focus();
}

/** The same file, and the form that says how it was sent. */
async function edit(options) {
  history.replaceState(null, "", at("/"));
  await showAddress();
  setOptions(form, options);
  countChanges();
  byId("options").open = true;
  byId("options").querySelector("summary").focus();
}

async function send(options) {
  await edit(options);
  form.requestSubmit();
}

async function showFailure(error) {
  if (error instanceof Canceled) {
    byId("before").textContent = "The upload was canceled. Nothing of it is kept.";
    byId("submit").focus();
    return;
  }
  const problem = error instanceof Unreachable && (await isGone(form.elements.model.files[0])) ? GONE : problemOf(error);
  const again = h("button", { type: "button", class: "quiet", onclick: () => form.requestSubmit() }, "Try again");
  const key = h("button", { type: "button", class: "quiet", onclick: () => byId("key-button").click() }, "Enter another key");
  const way = problem.status === 401 ? key : again;
  byId("upload-problem").replaceChildren(problemPanel(problem, h("div", { class: "row" }, way)));
  way.focus();
}

const GONE = {
  title: "The file can not be read",
  detail: "It was moved, changed or removed since it was chosen, or the browser may not open it.",
  remedy: "Choose it again.",
  code: "file-unreadable",
};

/** Whether the browser itself can't read the file: it ends the request as if the network were gone. */
async function isGone(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return false;
  } catch {
    return true;
  }
}

function show(on) {
  form.hidden = on;
  byId("sending").hidden = !on;
}
