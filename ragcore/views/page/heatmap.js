// Draws passages against words: how much each word of an answer rests on each passage.
//
// Knows posteriors by token; knows nothing of where they come from.

import { element, isolated } from "./nodes.js";
import { logProbability, probability } from "./numbers.js";
import { bars, byNumber } from "./passages.js";

/**
 * Draw passages against words: how much each word rests on each passage, as a table.
 *
 * Arrow keys move between cells, of which one is reached by Tab. A word is a button: pressed, its
 * distribution over the passages is shown below.
 *
 * view: {evidence, words, posteriors [T][k], pieces, logProbs, pressed, press(index or null)}
 */
export function heatmap(view) {
  const rows = byNumber(view.evidence.map((item, index) => ({ ...item, index })));
  const readout = element("p", { class: "readout soft" }, "Point at a cell, or choose a word.");
  const focusable = [];
  const cell = (kind, p, item, moment) => {
    const label = `[${item.number}] ${item.title || item.id}, ${moment}: ${probability(p)}`;
    const show = () => readout.replaceChildren(isolated(label));
    const attributes = { class: kind, tabindex: -1, style: { "--p": p.toFixed(4) } };
    const node = element("td", { ...attributes, onfocus: show, onmouseenter: show }, p.toFixed(2));
    node.setAttribute("aria-label", label);
    return node;
  };
  const buttons = view.words.map((word, index) =>
    element(
      "button",
      {
        type: "button",
        tabindex: -1,
        "aria-pressed": String(view.pressed === index),
        onclick: () => view.press(view.pressed === index ? null : index),
      },
      isolated(word.text),
    ),
  );
  focusable.push([null, ...buttons]);
  const body = rows.map((item) => {
    const cells = [
      cell("prior", item.prior, item, "prior"),
      ...view.words.map((word) =>
        cell("posterior", view.posteriors[word.last][item.index], item, `after “${word.text}”`),
      ),
    ];
    focusable.push(cells);
    const heading = { scope: "row", title: item.title };
    return element("tr", {}, element("th", heading, `[${item.number}] `, isolated(item.title || item.id)), ...cells);
  });
  const first = buttons[view.pressed ?? 0] ?? focusable[1]?.[0];
  if (first) first.tabIndex = 0;
  const head = element(
    "tr",
    {},
    element("th", { scope: "col" }, "passage"),
    element("th", { scope: "col" }, element("div", { class: "label" }, "prior")),
    ...buttons.map((button) => element("th", { scope: "col" }, button)),
  );
  const names = { "aria-labelledby": "heatmap-heading", "aria-describedby": "heatmap-note" };
  const parts = [element("thead", {}, head), element("tbody", {}, ...body)];
  const table = element("table", { class: "heatmap", ...names }, ...parts);
  table.addEventListener("keydown", (event) => moveFocus(event, focusable));
  const word = view.words[view.pressed];
  const shown = [element("div", { class: "scroll" }, table), readout];
  return word ? [...shown, distribution(view, word, rows)] : shown;
}

function moveFocus(event, focusable) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const row = focusable.findIndex((nodes) => nodes.includes(document.activeElement));
  if (!step || row < 0) return;
  const column = focusable[row].indexOf(document.activeElement);
  const next = focusable[row + step[0]]?.[column + step[1]];
  if (!next) return;
  event.preventDefault();
  document.activeElement.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** Show how a word is spread over the passages, most first, and what tokens it is made of. */
function distribution(view, word, rows) {
  const posterior = view.posteriors[word.last];
  const ordered = [...rows].sort((one, other) => posterior[other.index] - posterior[one.index]);
  const facts = [];
  if (view.logProbs?.length) {
    const share = view.logProbs.slice(word.first, word.last + 1).reduce((sum, part) => sum + part, 0);
    facts.push(`log p = ${logProbability(share)}`);
  }
  const pieces = view.pieces?.slice(word.first, word.last + 1) ?? [];
  if (pieces.length > 1) facts.push(`tokens ${pieces.map((piece) => `“${piece.trim()}”`).join(" ")}`);
  return element(
    "div",
    { class: "panel", id: "distribution", role: "status" },
    element("h3", {}, "After “", isolated(word.text), "”"),
    facts.length ? element("p", { class: "soft" }, isolated(facts.join(" · "))) : null,
    bars(
      ordered.map((item) => ({
        name: [`[${item.number}] `, isolated(item.title || item.id)],
        kind: "posterior",
        value: posterior[item.index],
      })),
    ),
  );
}
