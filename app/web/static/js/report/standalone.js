// The report as one file: what it shows lies in the file itself, and nothing is fetched.

import { switchColours } from "../lib/colours.js";
import { byId } from "../lib/dom.js";
import { reportView } from "./view.js";

const { report, snippet } = JSON.parse(byId("report-content").textContent);
switchColours(byId("theme-button"));
reportView(report, { snippet, plot: async () => globalThis.uPlot }).then((view) => byId("report").append(view));
