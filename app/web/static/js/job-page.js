// The page of one job: what its address says.

import { JobView } from "./job-view.js";
import { switchColours } from "./lib/colours.js";
import { byId } from "./lib/dom.js";
import { offerKey } from "./lib/key.js";

const own = location.pathname;
const view = new JobView(byId("job").dataset.id);

switchColours(byId("theme-button"));
offerKey(() => location.reload());
// The upload page writes addresses of jobs into the history; this page can show none but its own.
addEventListener("popstate", () => location.pathname !== own && location.reload());
byId("job").append(view.element);
view.open();
