// Asking the service: its address, the key, and its problems as errors.

import { askForKey, authorization, keysNeeded, storedKey } from "./key.js";

/** The address of a path of the API, also behind a proxy that puts something before it. */
export function at(path) {
  return `${document.body.dataset.root}${path}`;
}

/** A problem document (RFC 9457) that came as an answer. */
export class Problem extends Error {
  constructor(document) {
    super(document.title);
    this.document = document;
  }
}

/** No answer came: the service is away, or the network. */
export class Unreachable extends Error {}

/** The answer to a request. Throws Problem, Unreachable. Asks for a key where one is missing or wrong. */
export async function ask(path, { method = "GET", headers = {}, signal, quiet = false } = {}) {
  if (keysNeeded() && !storedKey() && !quiet) await askForKey("This service asks for a key.");
  const answer = await send(path, method, headers, signal);
  if (answer.status === 401 && keysNeeded() && !quiet) {
    const given = await askForKey((await problemOf(answer)).document.detail);
    if (given) return ask(path, { method, headers, signal });
  }
  if (!answer.ok && answer.status !== 304) throw await problemOf(answer);
  return answer;
}

async function send(path, method, headers, signal) {
  try {
    return await fetch(at(path), { method, headers: { ...authorization(), ...headers }, signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The service does not answer.");
  }
}

async function problemOf(answer) {
  return problemFrom(answer.status, await answer.clone().text());
}

/** What the service said, or, where something in between answered, that it was not the service. */
export function problemFrom(status, text) {
  try {
    const document = JSON.parse(text);
    if (typeof document.title === "string") return new Problem(document);
  } catch {
    // Not ours: an error page of a proxy.
  }
  return new Problem({
    title: "Something between here and the service answered",
    detail: `It answered with status ${status}.`,
    remedy: "Try again; if it repeats, ask the operator of this service.",
    code: `http-${status}`,
    status,
  });
}
