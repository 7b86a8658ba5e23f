// Results to take away: plain links where no key is asked for. A link can carry no key: then large files are fetched by
// the browser itself, through a form that holds the key, and the small ones by the page, which saves them.

import { h } from "./lib/dom.js";
import { bytes } from "./lib/format.js";
import { keysNeeded, storedKey } from "./lib/key.js";
import { problemOf } from "./lib/problem.js";
import { ask, at } from "./lib/service.js";

/** What there is of a job that has ended well. */
export function downloads(job) {
  const stem = job.output.filename;
  return [
    largeFile(`Download ${bytes(job.output.bytes)}`, job, "model", "main"),
    largeFile("With report (zip)", job, "bundle", "quiet"),
    report("Report, HTML", job, "report.html", `${stem}.report.html`, true),
    report("Markdown", job, "report.md", `${stem}.report.md`),
    report("JSON", job, "report", `${stem}.report.json`),
  ];
}

const address = (job, part) => `/v1/jobs/${encodeURIComponent(job.id)}/${part}`;

/** A file of any size: it never passes through the memory of the page. */
function largeFile(label, job, part, tone) {
  const link = h("a", { class: `button ${tone}`, href: at(address(job, part)), download: true }, label);
  return withKey(link, label, async () => {
    // Its first byte: whether it is still there, and the key still good. What is not is told on this page.
    await ask(address(job, part), { headers: { Range: "bytes=0-0" } });
    post(at(`/jobs/${encodeURIComponent(job.id)}/${part}`));
  });
}

/** The key in a body stands in no address, and so in no history and no log. */
function post(action) {
  const key = h("input", { type: "hidden", name: "key" });
  const form = h("form", { method: "post", action, hidden: true }, key);
  key.value = storedKey();
  document.body.append(form);
  form.submit();
  form.remove();
}

function report(label, job, part, name, opens = false) {
  const opened = opens && !keysNeeded();
  const link = h("a", { class: "button quiet", href: at(address(job, part)), download: opened ? null : name, target: opened && "_blank", rel: opened && "noopener" }, label);
  return withKey(link, label, async () => {
    const url = URL.createObjectURL(await (await ask(address(job, part))).blob());
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });
}

/** The link as it is, or, where a key is needed, what fetches it instead. */
function withKey(link, label, fetched) {
  if (!keysNeeded()) return link;
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    if (link.getAttribute("aria-busy") === "true") return;
    link.setAttribute("aria-busy", "true");
    try {
      await fetched();
      link.textContent = label;
    } catch (error) {
      link.textContent = `${label}: ${problemOf(error).title}`;
    } finally {
      link.removeAttribute("aria-busy");
    }
  });
  return link;
}
