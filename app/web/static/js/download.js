// Results to take away: plain links where no key is asked for, else fetched with the key and saved.

import { h } from "./lib/dom.js";
import { bytes } from "./lib/format.js";
import { keysNeeded } from "./lib/key.js";
import { problemOf } from "./lib/problem.js";
import { ask, at } from "./lib/service.js";

/** A link to a part of a job; `name` is the file's where it has to be saved by us. */
export function downloadLink(label, path, name, { main = false, open = false } = {}) {
  const opens = open && !keysNeeded();
  const link = h("a", { class: `button ${main ? "main" : "quiet"}`, href: at(path), download: opens ? null : name, target: opens && "_blank", rel: opens && "noopener" }, label);
  // Links carry no header: what needs a key is fetched.
  if (keysNeeded()) link.addEventListener("click", (event) => save(event, link, label, path, name));
  return link;
}

async function save(event, link, label, path, name) {
  event.preventDefault();
  if (link.getAttribute("aria-busy") === "true") return;
  link.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(path);
    const blob = await new Response(counted(answer.body, (sum) => (link.textContent = `${bytes(sum)} …`))).blob();
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    link.textContent = label;
  } catch (error) {
    link.textContent = `${label}: ${problemOf(error).title}`;
  } finally {
    link.removeAttribute("aria-busy");
  }
}

function counted(stream, told) {
  let sum = 0;
  return stream.pipeThrough(
    new TransformStream({
      transform(piece, controller) {
        sum += piece.byteLength;
        told(sum);
        controller.enqueue(piece);
      },
    }),
  );
}
