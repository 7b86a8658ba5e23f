// Two lists of layers, before and after, as one tree: what stands under the same path stands in the same row.

// What became of a row, in the order in which the filter offers them.
export const FATES = { fused: "fused", merged: "merged", refused: "refused", removed: "removed", moved: "moved" };

/** The rows of a report, parents before children; each knows its depth, its parent and how many rows follow below it. */
export function layerRows(report) {
  const tree = report.tree ?? listed(report);
  const before = new Map(tree.before.map((layer) => [layer.path, layer]));
  const after = new Map(tree.after.map((layer) => [layer.path, layer]));
  const rows = new Map(ordered(tree.before, tree.after, after).map((path) => [path, row(path, before.get(path) ?? null, after.get(path) ?? null)]));
  // The model itself: its name stands over the table.
  if (rows.size > 1) rows.delete("");
  return inDepth(rows);
}

/** A tree of a report without one (too many layers): the places that it names. */
function listed(report) {
  const layer = (path, text, parameters, fate) => ({ path, kind: "", text, parameters, multiply_adds: null, fate, into: null });
  const replaced = report.replaced.map((one) => [layer(one.path, one.before.join(" + "), one.parameters_before, "replaced"), layer(one.path, one.after, one.parameters_after, "fused")]);
  const refused = report.refused.map((one) => layer(one.path, "", 0, "refused"));
  return { before: [...replaced.map(([one]) => one), ...refused], after: [...replaced.map(([, one]) => one), ...refused] };
}

/** All paths: in the order of before, with those that only after has behind what precedes them there. */
function ordered(before, after, inAfter) {
  const place = new Map(before.map((layer, index) => [layer.path, index]));
  const paths = new Set();
  let next = 0;
  for (const { path } of after) {
    const index = place.get(path);
    if (index === undefined) {
      // What is gone comes before what took its place.
      while (next < before.length && !inAfter.has(before[next].path)) paths.add(before[next++].path);
      paths.add(path);
    } else {
      while (next <= index) paths.add(before[next++].path);
    }
  }
  while (next < before.length) paths.add(before[next++].path);
  return [...paths];
}

function row(path, before, after) {
  return { path, name: path, before, after, fate: fateOf(before, after), depth: 0, parent: null, below: 0, first: before?.parameters ?? 0, last: after?.parameters ?? 0, changed: 0 };
}

function fateOf(before, after) {
  if (before === null) return after.fate === "kept" ? "" : "fused";
  if (before.fate === "replaced") return after?.fate === "fused" ? "fused" : "merged";
  if (before.fate === "kept" && after === null) return "moved"; // it has another path now
  return before.fate === "kept" ? (after?.fate === "fused" ? "fused" : "") : before.fate;
}

/** Children behind their parents, with parameters and changes added up towards the root. */
function inDepth(rows) {
  const children = new Map([[null, []]]);
  for (const one of rows.values()) {
    const end = one.path.lastIndexOf(".");
    one.parent = (end > 0 && rows.get(one.path.slice(0, end))) || null;
    if (one.parent) one.name = one.path.slice(end + 1);
    if (!children.has(one.parent)) children.set(one.parent, []);
    children.get(one.parent).push(one);
  }
  const flat = [];
  const open = [...children.get(null)].reverse();
  while (open.length) {
    const one = open.pop();
    one.depth = one.parent ? one.parent.depth + 1 : 0;
    flat.push(one);
    open.push(...[...(children.get(one) ?? [])].reverse());
  }
  for (const one of [...flat].reverse()) {
    if (one.fate) one.changed += 1;
    if (!one.parent) continue;
    one.parent.below += one.below + 1;
    one.parent.first += one.first;
    one.parent.last += one.last;
    one.parent.changed += one.changed;
  }
  return flat;
}

/** The rows that are seen: those that fit, their parents, and nothing below what is folded. */
export function visibleRows(rows, folded, { query = "", fate = "" } = {}) {
  if (!query && !fate) return unfolded(rows, folded);
  const wanted = query.toLowerCase();
  const fitting = new Set();
  for (const one of rows) {
    if (fits(one, wanted, fate)) for (let up = one; up && !fitting.has(up); up = up.parent) fitting.add(up);
  }
  return rows.filter((one) => fitting.has(one));
}

export function fits(one, wanted, fate) {
  if (fate === "changed" ? !one.fate : fate && one.fate !== fate) return false;
  if (!wanted) return true;
  return [one.path, one.before?.text, one.after?.text].some((text) => text?.toLowerCase().includes(wanted));
}

function unfolded(rows, folded) {
  const seen = [];
  for (let index = 0; index < rows.length; index += 1) {
    seen.push(rows[index]);
    if (folded.has(rows[index])) index += rows[index].below;
  }
  return seen;
}

/** What to fold at first, so that the eye meets no more than about so many rows. */
export function foldedAtFirst(rows, most = 160) {
  const depths = [];
  for (const one of rows) depths[one.depth] = (depths[one.depth] ?? 0) + 1;
  let seen = 0;
  const open = depths.findIndex((size) => (seen += size) > most);
  return new Set(open < 0 ? [] : rows.filter((one) => one.below && one.depth >= Math.max(0, open - 1)));
}
