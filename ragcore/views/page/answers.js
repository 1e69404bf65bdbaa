// Says in words what an answer's numbers are, and what its reader should know.
//
// Knows the JSON of answers; knows nothing of views.

import { element, isolated } from "./nodes.js";
import { logProbability, probability, rounded, seconds } from "./numbers.js";

const MOST_DRAWN = 5;

/** Return the numbers of an answer, as texts and nodes. */
export function factsOf(answer) {
  const value = answer.log_prob;
  const facts = [
    value == null
      ? "log p not known"
      : `log p(y|x) = ${logProbability(value)} (p = ${rounded(Math.exp(value))})`,
    ...confidenceOf(answer),
    isolated(`memory ${answer.memory}`),
    `${answer.evidence.length} passages`,
  ];
  if (answer.dropped_mass) {
    const from = answer.tier === "top" ? "tokens outside the passages’ tops" : "passages that were dropped";
    facts.push(`p at most ${probability(answer.dropped_mass)} higher, from ${from}`);
  }
  if (answer.usage) facts.push(usageOf(answer.usage));
  if (answer.abstention) {
    facts.push(isolated(unknownOf(answer)));
    if (!answer.abstains) facts.push("the answer's p is given that a passage answers");
  }
  if (answer.timings) {
    const { search, read, decode, total } = answer.timings;
    facts.push(`${seconds(total)} (search ${seconds(search)}, read ${seconds(read)}, decode ${seconds(decode)})`);
  }
  return facts;
}

/** Say how probable the abstaining answer is, what is compared with the bound above which it is the answer, and that. */
function unknownOf({ abstention, abstains }) {
  const { text, log_prob: value, mean, log_mean: logMean, above } = abstention;
  const compared = Math.exp(logMean ?? -Infinity);
  let shown = `p(${text || "abstaining"}) = ${rounded(Math.exp(value))}`;
  if (mean === "geometric") shown += `, by the geometric mean ${rounded(compared)}`;
  // Pages that were written before answers had a bound do not name it.
  if (above != null) shown += abstains && !(compared > above) ? "; there is no other answer" : `; abstains above ${above}`;
  return shown;
}

/** Say what the generator's server counted; what it does not count is null. */
function usageOf({ requests, prompt_tokens: read, completion_tokens: written }) {
  const counts = [`${counted(requests, "request")} to the generator’s server`];
  if (read != null) counts.push(`${counted(read, "token")} read`);
  if (written != null) counts.push(`${counted(written, "token")} written`);
  return counts.join(", ");
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** List the different answers that were drawn, the most frequent first; none where one was. */
function drawsOf(samples) {
  if (samples.length < 2) return [];
  const counts = new Map();
  for (const { text } of samples) counts.set(text, (counts.get(text) ?? 0) + 1);
  const different = [...counts].sort(([, one], [, other]) => other - one);
  const shown = different.slice(0, MOST_DRAWN).map(([text, count]) => `${count} × “${text}”`);
  const more = different.length - shown.length;
  return [`Of ${samples.length} draws: ${shown.join(", ")}${more ? `, and ${more} more` : ""}.`];
}

/** Name the confidence where it is another number than p. */
function confidenceOf({ confidence, log_prob: value }) {
  const p = Math.min(Math.exp(value ?? -Infinity), 1);
  return confidence != null && Math.abs(confidence - p) > 1e-9 ? [`confidence ${confidence.toFixed(2)}`] : [];
}

/** Return what a reader of the answer should know, as items of a list. */
export function notesOf(answer) {
  const notes = [...answer.filter_notes];
  if (answer.rewritten_question) notes.push(`Searched for and read as “${answer.rewritten_question}”.`);
  if (answer.withheld) {
    const confidence = answer.confidence.toFixed(2);
    notes.push(`Not sure enough to answer (confidence ${confidence}): the text above is a best guess.`);
  }
  if (answer.closed_book) {
    const alone = answer.text ? ": the generator answered alone" : "";
    notes.push(`No passage was found${answer.abstains ? ": the pipeline abstains" : alone}.`);
  } else if (answer.abstains) {
    notes.push("The passages do not answer the question: the pipeline abstains.");
  }
  if (answer.missing_passages && !answer.closed_book) {
    notes.push(`${answer.missing_passages} passages fewer than asked for were found, although more are allowed.`);
  }
  notes.push(...drawsOf(answer.samples ?? []));
  for (const { text, share } of answer.votes ?? []) {
    notes.push(`Votes of passages, by prior: ${rounded(share)} for “${text}”.`);
  }
  const unknown = (answer.marks ?? []).flatMap((mark) => mark.unknown);
  if (unknown.length) notes.push(`No passage has the number ${unknown.map((n) => `[${n}]`).join(", ")}.`);
  return notes.map((note) => element("li", {}, isolated(note)));
}
