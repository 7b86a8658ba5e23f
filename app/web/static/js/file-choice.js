// The file: chosen, or dropped anywhere on the page. It always lies in the form's own field.

import { byId, h } from "./lib/dom.js";
import { bytes } from "./lib/format.js";

/** Have the page take a file; `chosen` is told of each. */
export function takeFiles(chosen) {
  const input = byId("model");
  const zone = byId("drop");
  let depth = 0;
  const lit = (on) => zone.classList.toggle("over", on);
  input.addEventListener("change", () => show(input.files[0] ?? null, chosen));
  document.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    depth += 1;
    lit(true);
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    lit(depth > 0);
  });
  // Without this a browser would leave the page and open the file.
  document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    lit(false);
    if (byId("start").hidden || zone.closest("form").hidden) return;
    dropped(event.dataTransfer, input, chosen);
  });
  show(input.files[0] ?? null, chosen); // A page that is shown again keeps its fields.
}

/** Why a file can't be sent, as a sentence; null if it can. */
export function whyNot(file) {
  const limit = Number(document.body.dataset.maxBytes);
  if (file.size === 0) return "The file is empty.";
  if (file.size > limit) return `The file is larger than this service takes, ${bytes(limit)}. Save it without the optimizer.`;
  return null;
}

function dropped(transfer, input, chosen) {
  const say = (text) => (byId("before").textContent = text);
  if ([...transfer.items].some((one) => one.webkitGetAsEntry?.()?.isDirectory)) return say("A folder can not be sent: drop the checkpoint that lies in it.");
  if (!transfer.files.length) return;
  const one = new DataTransfer();
  one.items.add(transfer.files[0]);
  input.files = one.files;
  show(input.files[0], chosen);
  if (transfer.files.length > 1) say(`A job takes one file: of the ${transfer.files.length} that were dropped, this is the first.`);
}

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

function show(file, chosen) {
  byId("drop").classList.toggle("full", file !== null);
  byId("chosen").replaceChildren(
    ...(file
      ? [h("strong", {}, file.name), " ", h("span", { class: "size" }, bytes(file.size)), " ", h("span", { class: "link" }, "choose another")]
      : [h("strong", {}, "Drop a checkpoint here"), " or ", h("span", { class: "link" }, "choose a file")]),
  );
  chosen(file);
}
