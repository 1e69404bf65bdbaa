// The answers that a file carries; a page that is served has none.
//
// Knows the JSON that `page_html` writes into the page; knows nothing of what is shown of it.

import { ServerError } from "./errors.js";

const script = document.querySelector("script#recorded");

/** {answers, withouts}: answers, and for each of them what remains without some passages. */
export const recording = script && JSON.parse(script.textContent, wellFormed);

/** Replace halves of characters, which no address can have. */
function wellFormed(key, value) {
  return typeof value === "string" ? value.toWellFormed() : value;
}

/** Return the place of the nth answer to a question, from a version or the first that answered. */
function placeOf({ question, version, nth = 1 }) {
  const { answers } = recording;
  const memory = version ?? answers.find((answer) => answer.question === question)?.memory;
  const isMeant = (answer) => answer.question === question && answer.memory === memory;
  const place = [...answers.keys()].filter((each) => isMeant(answers[each]))[nth - 1];
  if (place !== undefined) return place;
  const from = version ? ` from version ${version}` : "";
  throw new ServerError("NotRecorded", `This file has no answer to “${question}”${from}.`);
}

function withoutOf(place, ids) {
  const wanted = new Set(ids);
  return recording.withouts[place].find(
    ({ passage_ids: others }) => others.length === wanted.size && others.every((id) => wanted.has(id)),
  );
}

/** Return whether the file knows what becomes of the answer to a request without these passages. */
export const recordsWithout = (body, ids) => withoutOf(placeOf(body), ids) !== undefined;

/** Reply to a request as the server's route at `path` does, from what is recorded. */
export function recordedResponse(path, body) {
  switch (path) {
    case "v1/answer": {
      const answer = recording.answers[placeOf(body)];
      return new Response(`event: answer\ndata: ${JSON.stringify(answer)}\n\n`);
    }
    case "v1/compare": {
      const { question, versions } = body;
      const answers = versions.map((version) => recording.answers[placeOf({ question, version })]);
      return Response.json({ answers });
    }
    case "v1/without": {
      const without = withoutOf(placeOf(body), body.passage_ids);
      if (without) return Response.json({ without });
      throw new ServerError("NotRecorded", "This file does not know the answer without these passages.");
    }
    default:
      throw new ServerError("NotRecorded", `This file does not carry what ${path} returns.`);
  }
}
