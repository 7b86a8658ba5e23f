// The upload page: choose a file, look at the options, send it, go on to the job's page.

import { takeFiles } from "./file-choice.js";
import { switchColours } from "./lib/colours.js";
import { byId, h } from "./lib/dom.js";
import { bytes, duration } from "./lib/format.js";
import { askForKey, keysNeeded, offerKey, storedKey } from "./lib/key.js";
import { problemOf, problemPanel } from "./lib/problem.js";
import { at } from "./lib/service.js";
import { showRecent } from "./recent.js";
import { Canceled, Pace, upload } from "./upload.js";

const form = byId("upload");
let sending = null;

switchColours(byId("theme-button"));
takeFiles(fileChosen);
showRecent(byId("recent"));
offerKey(() => showRecent(byId("recent")));
form.addEventListener("submit", submit);
form.addEventListener("input", countChanges);
byId("cancel").addEventListener("click", () => sending?.cancel());
addEventListener("beforeunload", (event) => sending && event.preventDefault());
addEventListener("pageshow", (event) => event.persisted && showRecent(byId("recent")));
countChanges();

function fileChosen(file) {
  const limit = Number(document.body.dataset.maxBytes);
  byId("problem").replaceChildren();
  byId("submit").disabled = file !== null && file.size > limit;
  if (file === null) return;
  byId("before").textContent = hint(file, limit);
  if (/\.safetensors$/i.test(file.name)) byId("options").open = true;
}

function hint(file, limit) {
  if (file.size > limit) return `The file is larger than this service takes, ${bytes(limit)}. Save it without the optimizer.`;
  if (/\.safetensors$/i.test(file.name)) return "A safetensors file holds weights only: name the architecture in the options.";
  return "Nothing is sent before you press the button.";
}

function countChanges() {
  const changed = new Set(
    [...form.elements]
      .filter((one) => one.name && one.name !== "model" && !isDefault(one))
      .map((one) => one.name),
  );
  byId("changed").textContent = changed.size ? `${changed.size} changed` : "The defaults fit most files.";
}

function isDefault(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked === field.defaultChecked;
  if (field.type === "file") return field.files.length === 0;
  if (field.tagName === "SELECT") return field.selectedOptions[0].defaultSelected;
  return field.value.trim() === "";
}

async function submit(event) {
  event.preventDefault();
  if (keysNeeded() && !storedKey() && !(await askForKey("This service asks for a key before it takes a file."))) return;
  byId("problem").replaceChildren();
  byId("before").textContent = "";
  const pace = new Pace();
  showSending(true);
  try {
    sending = upload(form, (sent, total) => showProgress(pace, sent, total));
    const job = await sending.done;
    sending = null;
    location.assign(at(`/jobs/${encodeURIComponent(job.id)}`));
  } catch (error) {
    sending = null;
    showSending(false);
    showFailure(error);
  }
}

function showFailure(error) {
  if (error instanceof Canceled) {
    byId("before").textContent = "The upload was canceled. Nothing of it is kept.";
    byId("submit").focus();
    return;
  }
  const problem = problemOf(error);
  const again = h("button", { type: "button", class: "quiet", onclick: () => form.requestSubmit() }, "Try again");
  const key = h("button", { type: "button", class: "quiet", onclick: () => byId("key-button").click() }, "Enter another key");
  byId("problem").replaceChildren(problemPanel(problem, problem.status === 401 ? key : again));
}

function showSending(on) {
  form.hidden = on;
  byId("sending").hidden = !on;
  if (!on) return;
  byId("sending-title").textContent = `Sending ${form.elements.model.files[0].name}`;
  byId("sent").value = 0;
  byId("pace").textContent = "Connecting …";
  byId("cancel").focus();
}

function showProgress(pace, sent, total) {
  pace.add(sent, performance.now() / 1000);
  byId("sent").value = total ? sent / total : 0;
  byId("pace").textContent = sent < total ? figures(pace, sent, total) : `${bytes(total)} sent. The service is storing it …`;
}

function figures(pace, sent, total) {
  const left = pace.left(total);
  const parts = [`${bytes(sent)} of ${bytes(total)}`, pace.speed && `${bytes(pace.speed)}/s`, left !== null && `${duration(left)} left`];
  return parts.filter(Boolean).join(" · ");
}
