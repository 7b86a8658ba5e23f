// How an upload goes: how much of it has left, how fast, and how long it will take.

import { byId } from "./lib/dom.js";
import { bytes, duration } from "./lib/format.js";
import { visible } from "./lib/visible.js";
import { Pace } from "./upload.js";

/** Show that a file of this name is being sent; what comes back is told how much of it has left. */
export function showSending(filename) {
  const pace = new Pace();
  const said = byId("sent-said");
  byId("sending-title").textContent = `Sending ${visible(filename)}`;
  byId("sent").value = 0;
  byId("pace").textContent = "Connecting …";
  byId("cancel").focus();
  return (sent, total) => {
    pace.add(sent, performance.now() / 1000);
    const share = total ? sent / total : 0;
    byId("sent").value = share;
    // Heard four times, not with every piece.
    const quarters = `${Math.floor(share * 4) * 25} % sent`;
    if (said.textContent !== quarters) said.textContent = quarters;
    byId("pace").textContent = sent < total ? figures(pace, sent, total) : `${bytes(total)} sent. The service is storing it …`;
  };
}

function figures(pace, sent, total) {
  const left = pace.left(total);
  const parts = [`${bytes(sent)} of ${bytes(total)}`, pace.speed && `${bytes(pace.speed)}/s`, left !== null && `${duration(left)} left`];
  return parts.filter(Boolean).join(" · ");
}
