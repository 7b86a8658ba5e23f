// A job as it changes: events of the service (SSE), read with fetch so that the key can be sent, and taken up again
// wherever they stopped. A restart of the service, a lost network or a sleeping computer cost nothing but time.

import { Problem, Unreachable, ask } from "./lib/service.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
// The service says something every 15 s; a connection that says nothing for so long is dead.
const SILENCE = 45000;
// What passes by itself: too many requests, a proxy without a service behind it, a service that is starting.
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Tell `changed` of each state of a job until it is over or `stop` says so; `lost` whether the connection is gone.
 * Throws Problem.
 */
export async function watch(id, changed, lost, stop) {
  const path = `/v1/jobs/${encodeURIComponent(id)}/events`;
  let last = null;
  let pause = FIRST_PAUSE;
  while (!stop.aborted) {
    try {
      const over = await follow(path, last, stop, (event) => {
        last = event.id ?? last;
        pause = FIRST_PAUSE;
        lost(false);
        changed(JSON.parse(event.data));
      });
      if (over) return;
    } catch (error) {
      if (!passes(error)) throw error;
    }
    if (stop.aborted) return;
    lost(true);
    await pauseOf(pause);
    pause = Math.min(pause * 1.6, LONGEST_PAUSE);
  }
}

/** So many milliseconds, or until the network is there again. */
function pauseOf(time) {
  return new Promise((resolve) => {
    setTimeout(resolve, time);
    addEventListener("online", resolve, { once: true });
  });
}

function passes(error) {
  if (error instanceof Problem) return PASSING.has(error.document.status);
  return error instanceof Unreachable;
}

/** Read one connection to its end; whether the job is over. */
async function follow(path, last, stop, told) {
  const dead = new AbortController();
  const end = () => dead.abort();
  stop.addEventListener("abort", end);
  addEventListener("online", end); // what was open before the network came back is dead, and may not know it
  let timer = setTimeout(() => dead.abort(), SILENCE);
  const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
  try {
    const answer = await ask(path, { headers, signal: dead.signal });
    if (answer.status === 204) return true;
    for await (const event of events(answer.body, () => {
      clearTimeout(timer);
      timer = setTimeout(() => dead.abort(), SILENCE);
    })) {
      told(event);
      if (event.name === "done") return true;
    }
    return false;
  } catch (error) {
    if (error instanceof Problem || error instanceof Unreachable) throw error;
    throw new Unreachable("The connection was lost.");
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", end);
    removeEventListener("online", end);
  }
}

/** The events of a stream, as the HTML standard reads them. */
export async function* events(stream, heard = () => {}) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { name: "message", data: "" };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data) yield { ...event, data: event.data.slice(0, -1) };
        event = { name: "message", data: "", id: event.id };
      } else {
        take(event, line);
      }
    }
  }
}

function take(event, line) {
  const colon = line.indexOf(":");
  if (colon === 0) return; // a comment: the heartbeat
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "event") event.name = value;
  else if (field === "data") event.data += `${value}\n`;
  else if (field === "id") event.id = value;
}
