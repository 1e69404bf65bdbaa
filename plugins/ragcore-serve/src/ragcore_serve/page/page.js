// The page of the server: asks a pipeline, and shows why it answers as it does.
//
// Knows the routes of /v1 and the JSON of answers; knows nothing of how a pipeline answers. Its
// parts, from the top: nodes, numbers, requests, words, passages, heatmap, and the views ask,
// compare and versions. A view is described by the address's fragment alone, so that every view is
// a link; the fragment is never sent to a server, and neither log nor proxy sees a question by it.
//
// Questions, titles, texts and addresses of passages are untrusted: they become text nodes, and no
// string becomes HTML anywhere.

const find = (id) => document.getElementById(id);
const SETTINGS = ["k", "beams", "max_new_tokens", "marginalize", "where"];
const NUMBERS = new Set(["k", "beams", "max_new_tokens"]);

// --- nodes ---------------------------------------------------------------------------------------

/** Make an element. `attributes` are plain attributes, `on…` listeners, or `style` properties. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") {
      for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    } else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Wrap untrusted text so that marks of direction in it do not turn the text around it. */
const isolated = (text) => element("bdi", {}, String(text));

const unseen = (text) => element("span", { class: "unseen" }, text);

/** Join nodes by a separator. */
const joined = (nodes, separator = " · ") =>
  nodes.flatMap((node, index) => (index ? [separator, node] : [node]));

// --- numbers -------------------------------------------------------------------------------------

/** Write a probability by four decimals, and a tiny one by its power of ten. */
const probability = (p) =>
  p > 0 && p < 0.00005 ? p.toExponential(1).replace("-", "−") : p.toFixed(4);

/** Write a log-probability; null is minus infinity, which JSON cannot write. */
const logProbability = (value) => (value == null ? "−∞" : value.toFixed(3).replace("-", "−"));

const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  for (; count >= 1000 && power < units.length - 1; power += 1) count /= 1000;
  return `${power ? count.toFixed(1) : count} ${units[power]}`;
}

// --- requests ------------------------------------------------------------------------------------

// In memory only: a reload forgets them, and no other page can read them.
const tokens = { user: "", admin: "" };

/** An error that the server answers with, or that the way to it has. */
class ServerError extends Error {
  constructor(type, message, status = 0) {
    super(message);
    this.type = type;
    this.status = status;
  }
}

/** Send a request; `body` makes it a POST. Errors of the server become a ServerError. */
async function send(path, { body, method, accept = "application/json", token, signal } = {}) {
  const headers = { Accept: accept };
  const bearer = token ?? tokens.user;
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: method ?? (body ? "POST" : "GET"), headers, signal };
  if (body) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("Unreachable", "The server cannot be reached. Is it running?");
  }
  if (response.ok) return response;
  const failure = await response.json().catch(() => null);
  const { type, message } = failure?.error ?? {};
  const wait = response.headers.get("Retry-After");
  const later = response.status === 429 && wait ? ` Try again in ${wait} s.` : "";
  const reason = message ?? `The server answered ${response.status} ${response.statusText}.`;
  throw new ServerError(type ?? `HTTP ${response.status}`, reason + later, response.status);
}

const json = async (path, options) => (await send(path, options)).json();

/** Yield the events of a text/event-stream (HTML standard, section 9.2) as {name, data}. */
async function* serverEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let name = "message";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // A carriage return at the end may be half of a line's end.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (!line) {
          if (data.length) yield { name, data: JSON.parse(data.join("\n")) };
          [name, data] = ["message", []];
          continue;
        }
        const [, field, text] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (field === "event") name = text;
        else if (field === "data") data.push(text);
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // An aborted stream is cancelled already.
  }
}

/** Show an error where the view has room for it; 401 opens the form for a token. */
function showError(target, error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof ServerError)) {
    target.replaceChildren(element("p", { class: "error" }, `The page failed: ${error.message}`));
    throw error;
  }
  if (error.status === 401) {
    find("token-form").hidden = false;
    find("token").focus();
  }
  target.replaceChildren(
    element("p", { class: "error" }, element("strong", {}, `${error.type}: `), isolated(error.message)),
  );
}

/** Read a filter, which is JSON. */
function filterOf(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ServerError("Filter", `Only passages where: this is no JSON, as {"country": "Chad"} is. ${error.message}`);
  }
}

/** Return the body that a view's parameters ask for. */
function requestOf(parameters) {
  const body = {};
  for (const name of ["question", "pipeline", "version"]) {
    if (parameters.get(name)) body[name] = parameters.get(name);
  }
  // A stream decodes jointly; numbers that are shown next to a stream's are computed as they are.
  const settings = { decode: "joint" };
  for (const name of SETTINGS) {
    const text = parameters.get(name);
    if (name === "where" && text) settings.where = filterOf(text);
    else if (text) settings[name] = NUMBERS.has(name) ? Number(text) : text;
  }
  return { ...body, settings };
}

// --- words ---------------------------------------------------------------------------------------

const END = "(end)"; // The name of the token that ends an answer, which has no text.

/** Reduce text to what a tokenizer without case, accents and white space leaves of it. */
const folded = (text) => text.normalize("NFD").replace(/[\s\p{M}]+/gu, "").toLowerCase();

/**
 * Group an answer's tokens to the words of its text; null where they do not spell it.
 *
 * A word is {text, first, last}: its tokens are first … last. The token that ends the answer is a
 * word of its own. Spelling is the text's: "n", "'", "dj", "##amena" are the word "N'Djamena".
 */
function wordsOf(text, pieces) {
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
function wordsOfTexts(texts) {
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
const wordsOfPieces = (pieces) =>
  pieces.map((piece, index) => ({
    text: piece.replace(/^##(?=.)/, "").trim() || END,
    first: index,
    last: index,
  }));

// --- passages ------------------------------------------------------------------------------------

/** Return the passages of an answer's evidence in one form, in the evidence's order. */
const evidenceOf = (answer) =>
  answer.evidence.map(({ passage, posterior, ...rest }) => ({
    ...passage,
    ...rest,
    posterior: posterior ?? undefined,
  }));

/** Return found passages in the same form, numbered by falling prior as the answer numbers them. */
function evidenceOfHits(hits) {
  const order = hits.passages.map((_, z) => z);
  order.sort((one, other) => hits.passages[other].prior - hits.passages[one].prior);
  return hits.passages.map((passage, z) => ({
    ...passage,
    number: order.indexOf(z) + 1,
    spans: [],
    posterior: null,
  }));
}

const byNumber = (evidence) => [...evidence].sort((one, other) => one.number - other.number);

/** An address that the page links to: http and https alone; passages' metadata are untrusted. */
const ADDRESS =
  /^https?:\/\/[^\s\u0000-\u0020\u007f-\u009f"<>\u200e\u200f\u202a-\u202e\u2066-\u2069]+$/i;

function sourceOf({ source = {}, id }) {
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
  return element("p", { class: "soft source" }, ...joined(parts));
}

/** Draw bars with their names and numbers; the number is the text, the bar repeats it. */
function bars(rows) {
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
function markedText(text, spans) {
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
const priorAndPosterior = ({ prior, posterior }) =>
  bars([
    { name: "prior", kind: "prior", value: prior },
    ...(posterior === undefined ? [] : [{ name: "posterior", kind: "posterior", value: posterior }]),
  ]);

// --- heatmap -------------------------------------------------------------------------------------

/**
 * Draw passages against words: how much each word rests on each passage, as a table.
 *
 * Arrow keys move between cells, of which one is reached by Tab. A word is a button: pressed, its
 * distribution over the passages is shown below.
 *
 * view: {evidence, words, posteriors [T][k], pieces, logProbs, pressed, press(index or null)}
 */
function heatmap(view) {
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

// --- view: ask -----------------------------------------------------------------------------------

// What is shown of the last question. `key` are the parameters that the answer depends on.
let asked = { key: null };

const askKey = (parameters) => {
  const rest = new URLSearchParams(parameters);
  rest.delete("word");
  rest.delete("without");
  return rest.toString();
};

function showAsk(parameters, again) {
  const form = find("ask-form");
  for (const name of ["question", ...SETTINGS]) form.elements[name].value = parameters.get(name) ?? "";
  const version = form.elements.version;
  offer(version, [], parameters.get("version") ?? "");
  versionNames(find("ask-error")).then((names) => offer(version, names, version.value));
  if (["version", ...SETTINGS].some((name) => parameters.get(name))) find("settings").open = true;
  if (!parameters.get("question")) return;
  document.title = `${parameters.get("question")} · ragcore`;
  if (again || asked.key !== askKey(parameters)) ask(parameters);
  else if (asked.answer) showAnswerParts(parameters);
}

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
      // Without log p, no word is known to rest on a passage.
      if (data.log_prob != null) {
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
      if (find("answer").textContent !== data.text) find("answer").replaceChildren(data.text);
      find("ask-status").textContent = "";
      showFacts(data);
      showAnswerParts(askParameters());
      break;
    case "error":
      throw new ServerError(data.error?.type ?? "Error", data.error?.message ?? "The stream failed.");
  }
}

function factsOf(answer) {
  const value = answer.log_prob;
  const facts = [
    value == null ? "log p not known" : `log p(y|x) = ${logProbability(value)} (p = ${probability(Math.exp(value))})`,
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
    facts.push(isolated(`log p(“${text}”) = ${logProbability(value)}`));
  }
  if (answer.timings) {
    const { search, read, decode, total } = answer.timings;
    facts.push(`${seconds(total)} (search ${seconds(search)}, read ${seconds(read)}, decode ${seconds(decode)})`);
  }
  return facts;
}

function notesOf(answer) {
  const notes = [...answer.filter_notes];
  if (answer.abstains) notes.push("The passages do not answer the question: the pipeline abstains.");
  else if (answer.closed_book) notes.push("No passage was found: the generator answered alone.");
  if (answer.missing_passages) {
    notes.push(`${answer.missing_passages} passages fewer than asked for were found, although more are allowed.`);
  }
  for (const { text, share } of answer.votes ?? []) {
    notes.push(`Votes of passages, by prior: ${probability(share)} for “${text}”.`);
  }
  return notes.map((note) => element("li", {}, isolated(note)));
}

function showFacts(answer) {
  const parameters = new URLSearchParams(asked.key);
  parameters.set("version", answer.memory);
  const link = element("a", { href: `#/ask?${parameters}` }, "link that keeps this version");
  find("answer-facts").replaceChildren(...joined([...factsOf(answer), link]));
  find("answer-notes").replaceChildren(...notesOf(answer));
  if (!asked.key || !new URLSearchParams(asked.key).get("version")) showServing(answer.memory);
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
      logProbs: own.logProbs,
      press: (index) => choose("word", index == null ? [] : [index + 1]),
    }),
  );
  if (hadFocus) find("heatmap").querySelector("[tabindex='0']")?.focus();
}

function showPassages(own, excluded) {
  const id = find("passages").contains(document.activeElement) && document.activeElement.dataset.id;
  const items = byNumber(own.evidence).map((item) => {
    const out = excluded.includes(item.id);
    const button = element(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-pressed": String(out),
        "data-id": item.id,
        disabled: !own.answer || own.evidence.length < 2,
        onclick: () => {
          const others = excluded.filter((other) => other !== item.id);
          choose("without", out ? others : [...others, item.id]);
        },
      },
      out ? "Put back" : "Leave out",
      unseen(` passage ${item.number}`),
    );
    const heading = element("h3", {}, `[${item.number}] `, isolated(item.title || item.id));
    if (out) heading.append(" ", element("span", { class: "badge" }, "left out"));
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
      ` (log p = ${logProbability(winner.log_prob)}), of ${candidates} that the search reached. Its posterior:`,
    ),
    bars(
      byNumber(evidenceOf(winner)).map((item) => ({
        name: [`[${item.number}] `, isolated(item.title || item.id)],
        kind: "posterior",
        value: item.posterior,
      })),
    ),
  );
  return parts;
}

// --- view: compare -------------------------------------------------------------------------------

let compared = { key: null };

async function showCompare(parameters, again) {
  const form = find("compare-form");
  form.elements.question.value = parameters.get("question") ?? "";
  const names = await versionNames(find("compare-error"));
  offer(form.elements.a, names, parameters.get("a") || names.at(-1) || "");
  offer(form.elements.b, names, parameters.get("b") || names[0] || "");
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
      element("a", { href: link }, "ask this version alone"),
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

/** Mark what differs between two texts, word by word (longest common subsequence). */
function textDifference(before, after) {
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

// --- view: versions ------------------------------------------------------------------------------

// The versions of each pipeline's memory as the server lists them, by the pipeline's name.
const listings = new Map();

/** Return the pipeline that the address names; empty for the server's first. */
const pipelineName = () => current().parameters.get("pipeline") ?? "";

async function loadVersions() {
  const name = pipelineName();
  const query = name ? `?${new URLSearchParams({ pipeline: name })}` : "";
  const listing = await json(`v1/versions${query}`);
  listings.set(name, listing);
  if (name === pipelineName()) showServing(listing.serving);
  return listing;
}

const namesOf = (listing) => listing.versions.filter((version) => !version.broken).map((version) => version.name);

/** Return the names of the versions, the served one first; none where they cannot be read. */
async function versionNames(target) {
  try {
    const listing = listings.get(pipelineName()) ?? (await loadVersions());
    const { serving } = listing;
    return namesOf(listing).sort((one, other) => (other === serving) - (one === serving));
  } catch (error) {
    showError(target, error);
    return [];
  }
}

/** Let a list offer these names besides its empty choice, and choose one of them. */
function offer(list, names, chosen) {
  const empty = [...list.options].filter((option) => !option.value);
  const all = new Set(chosen ? [...names, chosen] : names);
  list.replaceChildren(...empty, ...[...all].map((name) => new Option(name, name)));
  list.value = chosen;
}

function showServing(version) {
  find("serving").replaceChildren(isolated(version ?? "unknown"));
}

async function showVersions() {
  const target = find("versions-table");
  find("versions-error").replaceChildren();
  try {
    const listing = await loadVersions();
    const rows = listing.versions.map((version) => versionRow(version));
    const names = ["version", "state", "passages", "created", "retriever", "size"];
    const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
    target.replaceChildren(
      element("table", { class: "versions" }, element("thead", {}, head), element("tbody", {}, ...rows)),
    );
  } catch (error) {
    target.replaceChildren();
    showError(find("versions-error"), error);
  }
}

function versionRow(version) {
  const state = version.serving
    ? element("span", { class: "badge" }, "served")
    : version.broken
      ? "broken: `ragcore memory versions` says why"
      : element(
          "button",
          { type: "button", class: "quiet", onclick: () => activate(version.name) },
          "Activate",
          unseen(` ${version.name}`),
        );
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, isolated(version.name)),
    element("td", {}, state),
    element("td", { class: "number" }, version.passages.toLocaleString("en")),
    element("td", {}, version.created.slice(0, 16).replace("T", " ")),
    element("td", {}, isolated(version.retriever)),
    element("td", { class: "number" }, bytes(version.bytes)),
  );
}

function confirmed(question) {
  const dialog = find("confirm");
  find("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function administer(question, path, body) {
  if (!(await confirmed(question))) return;
  find("versions-error").replaceChildren();
  find("versions-status").textContent = "Changing what is served …";
  try {
    const token = find("admin-token").value.trim() || tokens.admin || tokens.user;
    if (pipelineName()) body.pipeline = pipelineName();
    const { version } = await json(path, { body, token });
    await showVersions();
    find("versions-status").textContent = `Version ${version} is served now.`;
  } catch (error) {
    find("versions-status").textContent = "";
    if (error.status === 401 || error.status === 403) {
      error = new ServerError(error.type, `${error.message}. Enter the admin token below.`);
      find("admin-token").focus();
    }
    showError(find("versions-error"), error);
  }
}

const activate = (version) =>
  administer(
    `Serve version ${version}? Answers come from it as soon as it is open.`,
    "v1/admin/activate",
    { version },
  );

const rollBack = () =>
  administer(
    "Go back to the version that was served before?",
    "v1/admin/rollback",
    {},
  );

// --- the address -----------------------------------------------------------------------------------

const VIEWS = { ask: showAsk, compare: showCompare, versions: showVersions };

/** Return the view and the parameters that the address's fragment describes. */
function current() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { view: path in VIEWS ? path : "ask", parameters: new URLSearchParams(query) };
}

let shownView = null;

function route(again = false) {
  const { view, parameters } = current();
  for (const name of Object.keys(VIEWS)) find(`view-${name}`).hidden = name !== view;
  const pipeline = parameters.get("pipeline");
  for (const link of document.querySelectorAll("nav a")) {
    link.href = `#/${link.dataset.view}${pipeline ? `?${new URLSearchParams({ pipeline })}` : ""}`;
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector(`#view-${view} h1`).textContent} · ragcore`;
  // One who reads by keyboard goes on at the new view; the first view leaves the focus alone.
  if (shownView && shownView !== view) find("main").focus();
  shownView = view;
  if (pipeline) find("pipeline").value = pipeline;
  VIEWS[view](parameters, again);
}

/** Go to a view; where it is the present one, show it again. */
function go(view, fields) {
  const parameters = new URLSearchParams();
  if (pipelineName()) parameters.set("pipeline", pipelineName());
  for (const [name, value] of fields) if (value.trim()) parameters.append(name, value.trim());
  const hash = `#/${view}?${parameters}`;
  if (location.hash === hash) route(true);
  else location.hash = hash;
}

function start() {
  find("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    go("ask", new FormData(event.target));
  });
  find("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    go("compare", new FormData(event.target));
  });
  find("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tokens.user = find("token").value.trim();
    find("token").value = "";
    find("token-form").hidden = true;
    showPipelines();
    route(true);
  });
  find("admin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tokens.admin = find("admin-token").value.trim();
    find("admin-token").value = "";
    find("versions-status").textContent = tokens.admin ? "The admin token is used from now on." : "";
  });
  find("stop").addEventListener("click", () => asked.controller?.abort());
  find("rollback").addEventListener("click", rollBack);
  find("skip").addEventListener("click", (event) => {
    event.preventDefault(); // The fragment is the view's.
    find("main").focus();
  });
  addEventListener("hashchange", () => route());
  find("pipeline").addEventListener("change", (event) => {
    const { view, parameters } = current();
    const question = parameters.get("question");
    const chosen = new URLSearchParams({ pipeline: event.target.value });
    if (question) chosen.set("question", question);
    location.hash = `#/${view}?${chosen}`;
  });
  route();
  showPipelines();
}

/** Offer the pipelines that are served, where there are several. */
async function showPipelines() {
  try {
    const { pipelines } = await json("v1/pipelines");
    const first = pipelines.find((pipeline) => pipeline.default);
    offer(find("pipeline"), pipelines.map((pipeline) => pipeline.name), pipelineName() || first.name);
    find("pipeline-choice").hidden = pipelines.length < 2;
  } catch (error) {
    // What is wrong with the server, the view says.
    if (!(error instanceof ServerError)) throw error;
  }
}

start();

// For the tests of these alone.
export { serverEvents, wordsOf };
