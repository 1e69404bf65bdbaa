// The view of one answer: its tokens as they come, heatmap, passages, and passages left out.
//
// Knows the events of a stream; knows nothing of how an answer is found.

import { current } from "./address.js";
import { factsOf, notesOf } from "./answers.js";
import { ServerError, showError } from "./errors.js";
import { heatmap } from "./heatmap.js";
import { element, find, isolated, joined, unseen } from "./nodes.js";
import { logProbability } from "./numbers.js";
import {
  bars,
  byNumber,
  evidenceOf,
  evidenceOfHits,
  markedText,
  priorAndPosterior,
  sourceOf,
} from "./passages.js";
import { recording, recordsWithout } from "./recording.js";
import { SETTINGS, json, requestOf, send, serverEvents } from "./requests.js";
import { offer, showServing, versionNames } from "./versions.js";
import { wordsOf, wordsOfPieces, wordsOfTexts } from "./words.js";

// What is shown of the last question. `key` are the parameters that the answer depends on.
let asked = { key: null };

const askKey = (parameters) => {
  const rest = new URLSearchParams(parameters);
  rest.delete("word");
  rest.delete("without");
  return rest.toString();
};

export function showAsk(parameters, again) {
  if (recording) {
    find("ask-heading").textContent = parameters.get("question") ?? "This file has no answers";
    find("ask-heading").dir = "auto";
  } else fillAskForm(parameters);
  if (!parameters.get("question")) return;
  document.title = `${parameters.get("question")} · ragcore`;
  if (again || asked.key !== askKey(parameters)) ask(parameters);
  else if (asked.answer) showAnswerParts(parameters);
}

function fillAskForm(parameters) {
  const form = find("ask-form");
  for (const name of ["question", ...SETTINGS]) form.elements[name].value = parameters.get(name) ?? "";
  const version = form.elements.version;
  offer(version, [], parameters.get("version") ?? "");
  versionNames(find("ask-error")).then((names) => offer(version, names, version.value));
  if (["version", ...SETTINGS].some((name) => parameters.get(name))) find("settings").open = true;
}

/** Stop the question that is being answered. */
export const stopAsking = () => asked.controller?.abort();

async function ask(parameters) {
  asked.controller?.abort();
  const controller = new AbortController();
  const own = { key: askKey(parameters), controller, texts: [], posteriors: [], logProbs: [], evidence: [] };
  asked = own;
  clearAnswer();
  find("stop").hidden = false;
  find("ask-status").textContent = "Searching …";
  try {
    const body = requestOf(parameters);
    const accept = "text/event-stream";
    const response = await send("v1/answer", { body, accept, signal: controller.signal });
    for await (const { name, data } of serverEvents(response)) takeEvent(own, name, data);
    if (!own.answer) {
      throw new ServerError("IncompleteStream", "The stream ended before the answer did. Ask again.");
    }
  } catch (error) {
    if (asked !== own) return;
    find("ask-status").textContent = error.name === "AbortError" ? "Stopped." : "";
    showError(find("ask-error"), error);
  } finally {
    if (asked === own) {
      find("stop").hidden = true;
      find("answer").classList.remove("growing");
    }
  }
}

function clearAnswer() {
  for (const id of ["ask-error", "answer", "answer-facts", "answer-notes", "heatmap", "passages"]) {
    find(id).replaceChildren();
  }
  find("ask-result").hidden = true;
  find("heatmap-part").hidden = true;
  find("without-part").hidden = true;
}

function takeEvent(own, name, data) {
  if (asked !== own) return;
  switch (name) {
    case "hits":
      own.evidence = evidenceOfHits(data);
      find("ask-result").hidden = false;
      find("answer").classList.add("growing");
      find("ask-status").textContent = `Reading ${own.evidence.length} passages of memory ${data.memory} …`;
      showPassages(own, []);
      break;
    case "token":
      own.texts.push(data.text);
      // Without log p, and from one prompt, no word is known to rest on a passage.
      if (data.posterior.length) {
        own.posteriors.push(data.posterior);
        own.logProbs.push(data.log_prob);
      }
      // Only what is new becomes a node, so that a screen reader speaks nothing twice.
      if (data.text) find("answer").append(data.text);
      find("ask-status").textContent = "Decoding …";
      showHeatmap(own, null);
      break;
    case "correction":
      find("answer").replaceChildren(data.text);
      break;
    case "answer":
      own.answer = data;
      own.evidence = evidenceOf(data);
      find("ask-result").hidden = false;
      if (find("answer").textContent !== data.text) find("answer").replaceChildren(data.text);
      find("ask-status").textContent = "";
      showFacts(data);
      showAnswerParts(askParameters());
      break;
    case "error":
      throw new ServerError(data.error?.type ?? "Error", data.error?.message ?? "The stream failed.");
  }
}

function showFacts(answer) {
  find("answer-facts").replaceChildren(...joined([...factsOf(answer), ...versionLink(answer)]));
  find("answer-notes").replaceChildren(...notesOf(answer));
  if (!asked.key || !new URLSearchParams(asked.key).get("version")) showServing(answer.memory);
}

/** Link to the answer from this version, whichever is served; a file has no other. */
function versionLink(answer) {
  if (recording) return [];
  const parameters = new URLSearchParams(asked.key);
  parameters.set("version", answer.memory);
  return [element("a", { href: `#/ask?${parameters}` }, "link that keeps this version")];
}

/** Show what the fragment chooses of an answer: the pressed word, and passages left out. */
function showAnswerParts(parameters) {
  const excluded = parameters.getAll("without");
  const pressed = parameters.has("word") ? Number(parameters.get("word")) - 1 : null;
  showPassages(asked, excluded);
  showHeatmap(asked, pressed);
  showWithout(excluded);
}

/** Return the parameters of the view ask; none where another view is shown by now. */
function askParameters() {
  const { view, parameters } = current();
  return view === "ask" ? parameters : new URLSearchParams();
}

/** Change a parameter of the view that needs no new answer. */
function choose(name, values) {
  const { view, parameters } = current();
  parameters.delete(name);
  for (const value of values) parameters.append(name, value);
  history.pushState(null, "", `#/${view}?${parameters}`);
  showAnswerParts(parameters);
}

function showHeatmap(own, pressed) {
  const { answer, evidence } = own;
  const posteriors = answer?.token_posteriors ?? own.posteriors;
  find("heatmap-part").hidden = !evidence.length || !posteriors.length;
  if (find("heatmap-part").hidden) return;
  let words = answer ? wordsOf(answer.text, answer.tokens) : wordsOfTexts(own.texts);
  words ??= own.texts.length ? wordsOfTexts(own.texts) : wordsOfPieces(answer.tokens);
  // The table is drawn again; the focus stays at the word where it was.
  const hadFocus = find("heatmap").contains(document.activeElement);
  find("heatmap").replaceChildren(
    ...heatmap({
      evidence,
      words,
      posteriors,
      pressed,
      pieces: answer?.tokens,
      logProbs: answer?.token_log_probs ?? own.logProbs,
      press: (index) => choose("word", index == null ? [] : [index + 1]),
    }),
  );
  if (hadFocus) find("heatmap").querySelector("[tabindex='0']")?.focus();
}

function showPassages(own, excluded) {
  const id = find("passages").contains(document.activeElement) && document.activeElement.dataset.id;
  const cited = new Set((own.answer?.marks ?? []).flatMap((mark) => mark.passage_ids));
  const items = byNumber(own.evidence).map((item) => {
    const out = excluded.includes(item.id);
    const button = leaveOutButton(own, item, excluded);
    const heading = element("h3", {}, `[${item.number}] `, isolated(item.title || item.id));
    if (out) heading.append(" ", element("span", { class: "badge" }, "left out"));
    if (cited.has(item.id)) heading.append(" ", element("span", { class: "badge" }, "cited"));
    return element(
      "li",
      { class: out ? "left-out" : null },
      element("div", { class: "passage-head" }, heading, button),
      priorAndPosterior(item),
      markedText(item.text, item.spans),
      sourceOf(item),
    );
  });
  find("passages").replaceChildren(...items);
  if (id) [...find("passages").querySelectorAll("button")].find((node) => node.dataset.id === id)?.focus();
}

/** Make the button that leaves a passage out, or puts it back; null where a file cannot do so. */
function leaveOutButton(own, item, excluded) {
  const out = excluded.includes(item.id);
  const others = excluded.filter((other) => other !== item.id);
  let next = out ? others : [...others, item.id];
  if (recording) {
    const records = (ids) => !ids.length || recordsWithout(requestOf(new URLSearchParams(own.key)), ids);
    if (!records([item.id])) return null;
    if (!records(next)) next = out ? [] : [item.id];
  }
  return element(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-pressed": String(out),
      "data-id": item.id,
      // Without log p nothing is known of an answer from other passages.
      disabled: own.answer?.log_prob == null || own.evidence.length < 2,
      onclick: () => choose("without", next),
    },
    out ? "Put back" : "Leave out",
    unseen(` passage ${item.number}`),
  );
}

async function showWithout(excluded) {
  const own = asked;
  own.excluded = excluded;
  find("without-part").hidden = !excluded.length;
  if (!excluded.length) return;
  const target = find("without-body");
  target.replaceChildren(element("p", { class: "soft" }, "Computing …"));
  const body = requestOf(new URLSearchParams(own.key));
  // The version that answered, which may not be the one that is served by now.
  body.version = own.answer.memory;
  body.passage_ids = excluded;
  try {
    const { without } = await json("v1/without", { body, signal: own.controller.signal });
    if (asked === own && own.excluded === excluded) target.replaceChildren(...withoutParts(own, without));
  } catch (error) {
    showError(target, error);
  }
}

function withoutParts(own, { log_prob: value, winner, candidates }) {
  const numbers = own.evidence.filter((item) => own.excluded.includes(item.id)).map((item) => `[${item.number}]`);
  const before = logProbability(own.answer.log_prob);
  const parts = [
    element(
      "p",
      {},
      `Without ${numbers.join(" ")}, log p of “`,
      isolated(own.answer.text),
      `” goes from ${before} to `,
      element("strong", {}, logProbability(value)),
      value == null ? ": the other passages do not allow it." : ".",
    ),
  ];
  if (!winner) {
    parts.push(element("p", {}, `None of the ${candidates} answers that the search reached can be read from the others.`));
    return parts;
  }
  const same = winner.text === own.answer.text;
  parts.push(
    element(
      "p",
      {},
      same ? "The answer stays " : "The answer becomes ",
      element("strong", {}, isolated(winner.text)),
      ` (log p = ${logProbability(winner.log_prob)}), of ${candidates} that the search reached.`,
    ),
  );
  const evidence = byNumber(evidenceOf(winner));
  // From one prompt no posterior is known.
  if (evidence.some((item) => item.posterior === undefined)) return parts;
  parts.push(
    element("p", {}, "Its posterior:"),
    bars(
      evidence.map((item) => ({
        name: [`[${item.number}] `, isolated(item.title || item.id)],
        kind: "posterior",
        value: item.posterior,
      })),
    ),
  );
  return parts;
}
