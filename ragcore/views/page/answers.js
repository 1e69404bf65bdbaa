// Says in words what an answer's numbers are, and what its reader should know.
//
// Knows the JSON of answers; knows nothing of views.

import { element, isolated } from "./nodes.js";
import { logProbability, probability, seconds } from "./numbers.js";

/** Return the numbers of an answer, as texts and nodes. */
export function factsOf(answer) {
  const value = answer.log_prob;
  const facts = [
    value == null
      ? "log p not known"
      : `log p(y|x) = ${logProbability(value)} (p = ${probability(Math.exp(value))})`,
    ...confidenceOf(answer),
    isolated(`memory ${answer.memory}`),
    `${answer.evidence.length} passages`,
  ];
  if (answer.dropped_mass) {
    const from = answer.tier === "top" ? "tokens outside the passages’ tops" : "passages that were dropped";
    facts.push(`p at most ${probability(answer.dropped_mass)} higher, from ${from}`);
  }
  if (answer.usage) facts.push(`${answer.usage.requests} requests to the generator’s server`);
  if (answer.abstention) {
    const { text, log_prob: value } = answer.abstention;
    const given = answer.abstains ? "" : "; the answer's p is given that a passage answers";
    facts.push(isolated(`log p(“${text || "abstaining"}”) = ${logProbability(value)}${given}`));
  }
  if (answer.timings) {
    const { search, read, decode, total } = answer.timings;
    facts.push(`${seconds(total)} (search ${seconds(search)}, read ${seconds(read)}, decode ${seconds(decode)})`);
  }
  return facts;
}

/** Name the confidence where it is another number than p. */
function confidenceOf({ confidence, log_prob: value }) {
  const p = Math.min(Math.exp(value ?? -Infinity), 1);
  return confidence != null && Math.abs(confidence - p) > 1e-9 ? [`confidence ${confidence.toFixed(2)}`] : [];
}

/** Return what a reader of the answer should know, as items of a list. */
export function notesOf(answer) {
  const notes = [...answer.filter_notes];
  if (answer.withheld) {
    const confidence = answer.confidence.toFixed(2);
    notes.push(`Not sure enough to answer (confidence ${confidence}): the text above is a best guess.`);
  }
  if (answer.closed_book) {
    const alone = !answer.abstains && answer.text ? ": the generator answered alone" : "";
    notes.push(`No passage was found${alone}.`);
  } else if (answer.abstains) {
    notes.push("The passages do not answer the question: the pipeline abstains.");
  }
  if (answer.missing_passages && !answer.closed_book) {
    notes.push(`${answer.missing_passages} passages fewer than asked for were found, although more are allowed.`);
  }
  for (const { text, share } of answer.votes ?? []) {
    notes.push(`Votes of passages, by prior: ${probability(share)} for “${text}”.`);
  }
  return notes.map((note) => element("li", {}, isolated(note)));
}
