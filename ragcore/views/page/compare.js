// The view of two versions' answers to one question, with their passages side by side.
//
// Knows answers; knows nothing of how texts are compared.

import { factsOf, notesOf } from "./answers.js";
import { textDifference } from "./difference.js";
import { ServerError, showError } from "./errors.js";
import { element, find, isolated, joined } from "./nodes.js";
import { bars, byNumber, evidenceOf, sourceOf } from "./passages.js";
import { recording } from "./recording.js";
import { json, requestOf } from "./requests.js";
import { offer, versionNames } from "./versions.js";

let compared = { key: null };

export async function showCompare(parameters, again) {
  if (recording) {
    find("compare-heading").textContent = parameters.get("question") ?? "";
    find("compare-heading").dir = "auto";
  } else await fillCompareForm(parameters);
  if (!parameters.get("question") || !parameters.get("a") || !parameters.get("b")) return;
  document.title = `${parameters.get("question")} · two versions · ragcore`;
  if (!again && compared.key === parameters.toString()) return;
  compared.controller?.abort();
  const own = { key: parameters.toString(), controller: new AbortController() };
  compared = own;
  find("compare-error").replaceChildren();
  find("compare-result").replaceChildren();
  find("compare-status").textContent = "Asking both versions …";
  try {
    const body = { ...requestOf(parameters), versions: [parameters.get("a"), parameters.get("b")] };
    const { answers } = await json("v1/compare", { body, signal: own.controller.signal });
    const failed = answers.find((answer) => answer.error);
    if (failed) throw new ServerError(failed.error.type, failed.error.message);
    if (compared === own) find("compare-result").replaceChildren(...comparison(answers));
  } catch (error) {
    if (compared === own) showError(find("compare-error"), error);
  } finally {
    if (compared === own) find("compare-status").textContent = "";
  }
}

async function fillCompareForm(parameters) {
  const form = find("compare-form");
  form.elements.question.value = parameters.get("question") ?? "";
  const names = await versionNames(find("compare-error"));
  offer(form.elements.a, names, parameters.get("a") || names.at(-1) || "");
  offer(form.elements.b, names, parameters.get("b") || names[0] || "");
}

function comparison([one, other]) {
  const sides = [one, other].map((answer) => {
    const link = `#/ask?${new URLSearchParams({ question: answer.question, version: answer.memory })}`;
    return element(
      "div",
      { class: "panel" },
      element("h2", {}, isolated(answer.memory)),
      element("p", { class: "answer", dir: "auto" }, answer.text),
      element("p", { class: "soft" }, ...joined(factsOf(answer))),
      element("ul", { class: "notes" }, ...notesOf(answer)),
      element("a", { href: link }, recording ? "this answer alone" : "ask this version alone"),
    );
  });
  const same = one.text === other.text;
  const verdict = same ? "Both versions give the same answer." : "The versions give different answers.";
  const legend = [
    element("del", {}, "only in ", isolated(one.memory)),
    " ",
    element("ins", {}, "only in ", isolated(other.memory)),
  ];
  return [
    element("p", { role: "status" }, element("strong", {}, verdict)),
    element("div", { class: "sides" }, ...sides),
    element("h2", {}, "Passages that were read"),
    element("p", { class: "soft" }, ...legend),
    element("ul", { class: "passages" }, ...pairs(one, other).map((pair) => pairItem(pair, one.memory, other.memory))),
  ];
}

/** Pair the passages of two answers by id, then by title; what has no partner stays alone. */
function pairs(one, other) {
  const left = byNumber(evidenceOf(one));
  const right = byNumber(evidenceOf(other));
  const partners = new Map();
  for (const isSame of [(a, b) => a.id === b.id, (a, b) => a.title && a.title === b.title]) {
    for (const a of left.filter((item) => !partners.has(item))) {
      const b = right.find((item) => isSame(a, item) && ![...partners.values()].includes(item));
      if (b) partners.set(a, b);
    }
  }
  const alone = right.filter((item) => ![...partners.values()].includes(item));
  return [...left.map((a) => [a, partners.get(a)]), ...alone.map((b) => [undefined, b])];
}

function pairItem([a, b], before, after) {
  const item = a ?? b;
  const heading = element("h3", {}, isolated(item.title || item.id));
  const text = element("p", { class: "diff", dir: "auto" });
  if (a && b) {
    text.append(...(a.text === b.text ? [a.text] : textDifference(a.text, b.text)));
    heading.append(" ", element("span", { class: "badge" }, a.text === b.text ? "same text" : "text differs"));
  } else {
    text.append(item.text);
    heading.append(" ", element("span", { class: "badge" }, "read in ", isolated(a ? before : after), " only"));
  }
  const numbers = [[a, before], [b, after]].filter(([side]) => side);
  return element(
    "li",
    {},
    heading,
    bars(
      numbers.flatMap(([side, version]) => [
        { name: [isolated(version), ` [${side.number}] prior`], kind: "prior", value: side.prior },
        { name: [isolated(version), ` [${side.number}] posterior`], kind: "posterior", value: side.posterior },
      ]),
    ),
    text,
    sourceOf(item),
  );
}
