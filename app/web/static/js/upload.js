// One upload: sent by XMLHttpRequest, which alone tells how much has left.

import { authorization } from "./lib/key.js";
import { Unreachable, at, problemFrom } from "./lib/service.js";

/** The upload was canceled by whoever started it. */
export class Canceled extends Error {}

/** Send a form; `progress(sent, total)` is told. `done` is the job, or throws Problem, Unreachable, Canceled. */
export function upload(form, progress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
    request.onload = () => {
      if (request.status === 202 || request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(problemFrom(request.status, request.responseText));
    };
    request.onerror = () => reject(new Unreachable("The connection was lost."));
    request.onabort = () => reject(new Canceled("The upload was canceled."));
  });
  request.open("POST", at("/fuse"));
  for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
  request.setRequestHeader("Idempotency-Key", `"${randomName()}"`);
  request.send(body(form));
  return { done, cancel: () => request.abort() };
}

/** The options that say something, then the files: what is wrong with an option is told before gigabytes are sent. */
function body(form) {
  const ordered = new FormData();
  const entries = [...new FormData(form)];
  for (const [name, value] of entries) if (typeof value === "string" && value.trim()) ordered.append(name, value);
  for (const [name, value] of entries) if (typeof value !== "string" && value.name) ordered.append(name, value);
  return ordered;
}

/** crypto.randomUUID is missing where the browser does not trust the address (plain http). */
function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
}

/** How fast it goes, over the last seconds, and how long it will take. */
export class Pace {
  #samples = [];

  /** Note how much has been sent at a time in seconds. */
  add(sent, time) {
    this.#samples.push([sent, time]);
    while (this.#samples.length > 2 && time - this.#samples[0][1] > 5) this.#samples.shift();
  }

  /** Bytes a second; null before anything can be said. */
  get speed() {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || last[1] - first[1] < 0.2) return null;
    return (last[0] - first[0]) / (last[1] - first[1]);
  }

  /** Seconds until all is sent; null before anything can be said. */
  left(total) {
    const speed = this.speed;
    return speed ? (total - this.#samples.at(-1)[0]) / speed : null;
  }
}
