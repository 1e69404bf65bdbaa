// Asks the server.
//
// Knows its routes' manners: tokens, errors, streams, and the body that a view's parameters ask for;
// knows nothing of what is shown.

import { ServerError } from "./errors.js";
import { recordedResponse, recording } from "./recording.js";

export const SETTINGS = ["k", "beams", "max_new_tokens", "marginalize", "where"];
const NUMBERS = new Set(["k", "beams", "max_new_tokens"]);

// In memory only: a reload forgets them, and no other page can read them.
export const tokens = { user: "", admin: "" };

/**
 * Send a request; `body` makes it a POST. Errors of the server become a ServerError.
 *
 * In a file with recorded answers, they reply.
 */
export async function send(path, { body, method, accept = "application/json", token, signal } = {}) {
  if (recording) return recordedResponse(path, body);
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

export const json = async (path, options) => (await send(path, options)).json();

/** Yield the events of a text/event-stream (HTML standard, section 9.2) as {name, data}. */
export async function* serverEvents(response) {
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

/** Read a filter, which is JSON. */
function filterOf(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ServerError("Filter", `Only passages where: this is no JSON, as {"country": "Chad"} is. ${error.message}`);
  }
}

/** Return the body that a view's parameters ask for. */
export function requestOf(parameters) {
  const body = {};
  for (const name of ["question", "pipeline", "version"]) {
    if (parameters.get(name)) body[name] = parameters.get(name);
  }
  if (recording) return { ...body, nth: Number(parameters.get("nth") ?? 1) };
  // A stream decodes jointly; numbers that are shown next to a stream's are computed as they are.
  const settings = { decode: "joint" };
  for (const name of SETTINGS) {
    const text = parameters.get(name);
    if (name === "where" && text) settings.where = filterOf(text);
    else if (text) settings[name] = NUMBERS.has(name) ? Number(text) : text;
  }
  return { ...body, settings };
}
