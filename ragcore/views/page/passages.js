// Shows passages: texts with marks, sources, and bars of their probabilities.
//
// Knows the JSON of evidence and of found passages; knows nothing of answers' tokens.

import { element, isolated, joined, unseen } from "./nodes.js";
import { probability } from "./numbers.js";

/** Return the passages of an answer's evidence in one form, in the evidence's order. */
export function evidenceOf(answer) {
  const cited = new Map((answer.citations ?? []).map(({ number, spans }) => [number, spans]));
  return answer.evidence.map(({ passage, posterior, ...rest }) => ({
    ...passage,
    ...rest,
    posterior: posterior ?? undefined,
    cited: cited.get(rest.number) ?? [],
  }));
}

/** Return found passages in the same form, numbered by falling prior as the answer numbers them. */
export function evidenceOfHits(hits) {
  const order = hits.passages.map((_, z) => z);
  order.sort((one, other) => hits.passages[other].prior - hits.passages[one].prior);
  return hits.passages.map((passage, z) => ({
    ...passage,
    number: order.indexOf(z) + 1,
    spans: [],
    posterior: null,
  }));
}

export const byNumber = (evidence) => [...evidence].sort((one, other) => one.number - other.number);

/** An address that the page links to: http and https alone; passages' metadata are untrusted. */
const ADDRESS =
  /^https?:\/\/[^\s\u0000-\u0020\u007f-\u009f"<>\u200e\u200f\u202a-\u202e\u2066-\u2069]+$/i;

/** Say where a passage comes from, and by line and characters where the answer is in its file. */
export function sourceOf({ source = {}, id, cited = [] }) {
  const parts = [];
  let position = source.path ?? "";
  if (source.line != null) position += position ? `:${source.line}` : `line ${source.line}`;
  if (source.row != null) position += `${position ? ": " : ""}row ${source.row}`;
  if (source.page != null) position += `${position ? " " : ""}page ${source.page}`;
  if (source.heading) parts.push(isolated(source.heading));
  if (position) parts.push(isolated(position));
  if (source.revision) parts.push(isolated(`revision ${source.revision}`));
  if (source.date) parts.push(isolated(source.date.slice(0, 10)));
  if (source.uri && source.uri.length <= 2000 && ADDRESS.test(source.uri)) {
    const link = { href: source.uri, rel: "noopener noreferrer", target: "_blank", dir: "ltr" };
    parts.push(element("a", link, source.uri, unseen(" (opens a new tab)")));
  } else if (source.uri) parts.push(isolated(source.uri));
  parts.push(element("code", {}, isolated(id)));
  for (const span of cited.filter(({ line }) => line != null)) {
    const [start, end] = span.source;
    parts.push(`answer at line ${span.line}, characters ${start}–${end}`);
  }
  return element("p", { class: "soft source" }, ...joined(parts));
}

/** Draw bars with their names and numbers; the number is the text, the bar repeats it. */
export function bars(rows) {
  const cells = rows.flatMap(({ name, kind, value }) => {
    const width = { width: `${Math.min(1, Math.max(0, value ?? 0)) * 100}%` };
    const fill = element("div", { class: `fill ${kind}`, style: width });
    return [
      element("span", {}, ...[name].flat()),
      element("div", { class: "track", "aria-hidden": "true" }, fill),
      element("span", { class: "value" }, value == null ? "…" : probability(value)),
    ];
  });
  return element("div", { class: "bars" }, ...cells);
}

/** Show a text with its spans marked; offsets count characters as Python does, not UTF-16 units. */
export function markedText(text, spans) {
  const characters = Array.from(text);
  const nodes = [];
  let position = 0;
  for (const [start, end] of [...spans].sort((one, other) => one[0] - other[0])) {
    if (start < position) continue; // It overlaps the one before.
    nodes.push(characters.slice(position, start).join(""));
    nodes.push(element("mark", {}, characters.slice(start, end).join("")));
    position = end;
  }
  nodes.push(characters.slice(position).join(""));
  return element("p", { class: "text", dir: "auto" }, ...nodes);
}

/** Draw a passage's prior and posterior; null is not known yet, undefined never will be. */
export const priorAndPosterior = ({ prior, posterior }) =>
  bars([
    { name: "prior", kind: "prior", value: prior },
    ...(posterior === undefined ? [] : [{ name: "posterior", kind: "posterior", value: posterior }]),
  ]);
