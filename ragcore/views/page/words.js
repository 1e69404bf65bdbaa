// Groups the tokens of an answer to words.
//
// Knows how tokenizers spell; knows nothing of passages.

const END = "(end)"; // The name of the token that ends an answer, which has no text.

/** Reduce text to what a tokenizer without case, accents and white space leaves of it. */
const folded = (text) => text.normalize("NFD").replace(/[\s\p{M}]+/gu, "").toLowerCase();

/**
 * Group an answer's tokens to the words of its text; null where they do not spell it.
 *
 * A word is {text, first, last}: its tokens are first … last. The token that ends the answer is a
 * word of its own. Spelling is the text's: "n", "'", "dj", "##amena" are the word "N'Djamena".
 */
export function wordsOf(text, pieces) {
  const spelled = text.split(/\s+/).filter(Boolean);
  const ends = [];
  for (const word of spelled) ends.push((ends.at(-1) ?? 0) + folded(word).length);
  const letters = folded(text);
  const words = [];
  let position = 0;
  let shown = 0; // Words of the text that have their tokens.
  pieces.forEach((piece, index) => {
    const part = folded(piece.replace(/^##(?=.)/, ""));
    if (!part && position >= 0) {
      // No letter of its own: the end, or a part of the word before; before any, of the first.
      const isEnd = position === letters.length && !piece.trim() && words.at(-1)?.text !== END;
      if (isEnd) words.push({ text: END, first: index, last: index });
      else if (words.length) words.at(-1).last = index;
      return;
    }
    if (position < 0 || !letters.startsWith(part, position)) {
      position = -1;
      return;
    }
    const begins = !words.length || position === ends[shown - 1];
    position += part.length;
    let reached = shown;
    while (reached < ends.length && (reached ? ends[reached - 1] : 0) < position) reached += 1;
    if (begins || reached > shown) {
      const more = spelled.slice(shown, reached).join(" ");
      if (begins) words.push({ text: more, first: words.length ? index : 0, last: index });
      else words.at(-1).text += ` ${more}`;
    }
    words.at(-1).last = index;
    shown = reached;
  });
  return position === letters.length ? words : null;
}

/** Group the texts of streamed tokens to words: white space begins one. */
export function wordsOfTexts(texts) {
  const words = [];
  let open = false;
  texts.forEach((text, index) => {
    if (open && !/^\s/.test(text)) {
      words.at(-1).text += text;
      words.at(-1).last = index;
    } else words.push({ text, first: index, last: index });
    open = !/\s$/.test(text);
  });
  return words.map((word) => ({ ...word, text: word.text.trim() || "…" }));
}

/** Name tokens by themselves, where they cannot be grouped. */
export const wordsOfPieces = (pieces) =>
  pieces.map((piece, index) => ({
    text: piece.replace(/^##(?=.)/, "").trim() || END,
    first: index,
    last: index,
  }));
