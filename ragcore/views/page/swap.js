// The swap of a memory that a file shows: each question whose answer it changed, and both answers.
//
// Knows what is recorded and the address of a comparison; knows nothing of how answers differ.

import { element, find, isolated } from "./nodes.js";
import { logProbability, rounded } from "./numbers.js";
import { recording } from "./recording.js";

/** Show the answers before and after a swap side by side, where the file was made of one. */
export function showSwap() {
  const { answers, changed } = recording;
  if (!changed) return;
  const [before, after] = [answers[0].memory, answers.at(-1).memory];
  const count = new Set(answers.map((answer) => answer.question)).size;
  find("swap-heading").replaceChildren("The memory was swapped: ", isolated(before), " → ", isolated(after));
  find("swap-summary").textContent = `${changed.length} of ${count} questions have another answer now.`;
  const names = ["question", `memory ${before}`, `memory ${after}`];
  const head = names.map((name) => element("th", { scope: "col", role: "columnheader" }, isolated(name)));
  const rows = changed.map((places) => rowOf(...places.map((place) => answers[place])));
  // A narrow window shows the rows as grids, which some browsers take for no rows: hence the roles.
  const table = element(
    "table",
    { class: "versions changes", role: "table" },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
    element("tbody", { role: "rowgroup" }, ...rows),
  );
  find("swap-table").replaceChildren(...(rows.length ? [table] : []));
  find("swap").hidden = false;
}

function rowOf(one, other) {
  const fields = { question: one.question, a: one.memory, b: other.memory };
  const link = element("a", { href: `#/compare?${new URLSearchParams(fields)}` }, isolated(one.question));
  const heading = element("th", { scope: "row", role: "rowheader" }, link);
  return element("tr", { role: "row" }, heading, ...[one, other].map(answerCell));
}

function answerCell(answer) {
  const known = answer.log_prob != null;
  const facts = [known ? `log p = ${logProbability(answer.log_prob)}` : "log p not known"];
  const best = answer.abstains ? undefined : mostProbable(answer.evidence);
  const lines = facts.map((fact) => element("div", { class: "soft" }, fact));
  if (best) {
    const share = best.posterior == null ? "" : `, posterior ${rounded(best.posterior)}`;
    lines.push(element("div", { class: "soft" }, isolated(best.passage.title || best.passage.id), share));
  }
  return element("td", { role: "cell" }, element("strong", {}, isolated(answer.text || "(an empty answer)")), ...lines);
}

const mostProbable = (evidence) =>
  evidence.reduce((best, each) => ((each.posterior ?? 0) > (best.posterior ?? 0) ? each : best), evidence[0]);
