// The list of the answers that a file carries, each a link, by question.
//
// Knows what is recorded and the addresses of views; knows nothing of how an answer is shown.

import { current } from "./address.js";
import { element, find, isolated } from "./nodes.js";
import { recording } from "./recording.js";

const addressOf = ({ view, fields }) => `#/${view}?${new URLSearchParams(fields)}`;

/** Group the recorded answers by question, in their order, each with what its address says. */
function answersByQuestion() {
  const groups = new Map();
  for (const answer of recording.answers) {
    const group = groups.get(answer.question) ?? [];
    const nth = group.filter((other) => other.answer.memory === answer.memory).length + 1;
    const fields = { question: answer.question, version: answer.memory };
    group.push({ answer, view: "ask", fields: nth > 1 ? { ...fields, nth: String(nth) } : fields });
    groups.set(answer.question, group);
  }
  return groups;
}

/** Return the address of the first answer. */
export function firstAddress() {
  const [first] = answersByQuestion().values();
  return first ? addressOf(first[0]) : "#/ask";
}

/** Return whether the file has what a view shows. */
export const isRecorded = ({ view, parameters }) => view !== "versions" && parameters.has("question");

// The links of the list, each with the view and the fields of its address.
const listed = [];

function listedLink(target, ...name) {
  const node = element("a", { href: addressOf(target) }, ...name);
  listed.push({ node, ...target });
  return node;
}

/** Make the list; a single answer needs none. */
export function showContents() {
  find("contents").hidden = recording.answers.length < 2;
  find("contents-summary").textContent = `${recording.answers.length} answers in this file`;
  const isOneVersion = new Set(recording.answers.map((answer) => answer.memory)).size === 1;
  const items = [...answersByQuestion()].map(([question, group]) => {
    const answers = group.map(({ answer, ...target }) => {
      const link = listedLink(target, isolated(answer.text || "(an empty answer)"));
      const version = element("span", { class: "soft" }, " memory ", isolated(answer.memory));
      return element("li", {}, link, isOneVersion ? null : version);
    });
    const links = element("ul", {}, ...answers, ...comparisons(question, group));
    return element("li", {}, isolated(question), links);
  });
  find("contents-list").replaceChildren(...items);
  new ResizeObserver(hintAtScrolling).observe(find("contents-list"));
}

/** Say under the list that it scrolls, where it is longer than its box: a browser may show no bar. */
function hintAtScrolling() {
  const list = find("contents-list");
  find("contents-scroll").hidden = list.scrollHeight <= list.clientHeight;
}

/** Link to comparisons of the first version that answered a question with each other one. */
function comparisons(question, group) {
  const [a, ...others] = new Set(group.map(({ answer }) => answer.memory));
  return others.map((b) => {
    const target = { view: "compare", fields: { question, a, b } };
    const link = listedLink(target, "compare ", isolated(a), " and ", isolated(b));
    return element("li", {}, link);
  });
}

/** Mark the link to what is shown; the list stays, so that the focus stays at its link. */
export function markPresent() {
  const shown = current();
  for (const { node, view, fields } of listed) {
    const { question, version, nth, a, b } = fields;
    const wanted = Object.entries({ question, version, nth, a, b });
    const isShown = wanted.every(([name, value]) => shown.parameters.get(name) === (value ?? null));
    if (shown.view === view && isShown) node.setAttribute("aria-current", "page");
    else node.removeAttribute("aria-current");
  }
}
