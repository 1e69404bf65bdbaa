// Marks what differs between two texts, word by word.
//
// Knows texts alone.

import { element, unseen } from "./nodes.js";

/** Mark what differs between two texts, word by word (longest common subsequence). */
export function textDifference(before, after) {
  const [a, b] = [before, after].map((text) => text.match(/\s+|\S+/g) ?? []);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let same = 0;
  while (same < Math.min(a.length, b.length) - start && a.at(-1 - same) === b.at(-1 - same)) same += 1;
  const [left, right] = [a.slice(start, a.length - same), b.slice(start, b.length - same)];
  return [
    a.slice(0, start).join(""),
    ...changedParts(left, right),
    a.slice(a.length - same).join(""),
  ];
}

const MOST_STEPS = 4_000_000;

function changedParts(left, right) {
  const parts = [];
  let [removed, added] = [[], []];
  const close = () => {
    if (removed.length) parts.push(changed("del", "removed", removed.join("")));
    if (added.length) parts.push(changed("ins", "added", added.join("")));
    [removed, added] = [[], []];
  };
  let space = []; // White space after a change; with a change after it, it is part of both.
  for (const [kind, word] of wordSteps(left, right)) {
    const isSpace = !word.trim();
    if (kind === "same" && isSpace && (removed.length || added.length)) space.push(word);
    else if (kind === "same") {
      close();
      parts.push(...space, word);
      space = [];
    } else {
      if (removed.length) removed.push(...space);
      if (added.length) added.push(...space);
      space = [];
      (kind === "del" ? removed : added).push(word);
    }
  }
  close();
  return [...parts, ...space];
}

const changed = (tag, name, text) => element(tag, {}, unseen(`[${name}: `), text, unseen("]"));

/** Yield the words of two texts in order, each as [same, del or ins, word]. */
function* wordSteps(left, right) {
  if (left.length * right.length > MOST_STEPS) {
    // Too long to compare word by word: the one whole, then the other.
    for (const word of left) yield ["del", word];
    for (const word of right) yield ["ins", word];
    return;
  }
  const width = right.length + 1;
  const longest = new Uint32Array((left.length + 1) * width); // Of left[i:] and right[j:].
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] =
        left[i] === right[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    const removes = longest[(i + 1) * width + j] >= longest[i * width + j + 1];
    if (i < left.length && j < right.length && left[i] === right[j]) {
      yield ["same", left[i]];
      i += 1;
      j += 1;
    } else if (i < left.length && (j === right.length || removes)) {
      yield ["del", left[i]];
      i += 1;
    } else {
      yield ["ins", right[j]];
      j += 1;
    }
  }
}
