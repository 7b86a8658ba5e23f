// The API key: asked for where the service needs one, kept in this tab only, sent as a header only.

import { byId } from "./dom.js";

const PLACE = "fusebox.key";
let asked = null;

export const keysNeeded = () => document.body.dataset.keys === "yes";

export function storedKey() {
  return sessionStorage.getItem(PLACE);
}

/** The header that says who asks; none without a key. What no header can hold is no key: the service says so. */
export function authorization() {
  const key = storedKey();
  return key ? { Authorization: `Bearer ${key.replace(/[^!-~]/g, "?")}` } : {};
}

/** Ask for a key, once for all who wait for it. Null if none is given. */
export function askForKey(reason) {
  asked ??= open(reason).finally(() => (asked = null));
  return asked;
}

function open(reason) {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  byId("key-reason").textContent = reason;
  byId("key-forget").hidden = !storedKey();
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    byId("key-cancel").onclick = () => dialog.close("cancel");
    byId("key-forget").onclick = () => dialog.close("forget");
    dialog.onclose = () => resolve(answer(dialog.returnValue, input.value.trim()));
    dialog.querySelector("form").onsubmit = () => (dialog.returnValue = "use");
  });
}

function answer(how, key) {
  byId("key-input").value = "";
  if (how === "forget") sessionStorage.removeItem(PLACE);
  if (how !== "use" || !key) return null;
  sessionStorage.setItem(PLACE, key);
  return key;
}

/** The button in the head of the page: give another key, or forget it. */
export function offerKey(changed) {
  if (!keysNeeded()) return;
  byId("key-button").addEventListener("click", async () => {
    await askForKey("Jobs belong to the key that they were sent with.");
    changed();
  });
}
