// Reads the view that the address describes.
//
// Knows the address's fragment alone, so that every view is a link; the fragment is never sent to a
// server, and neither log nor proxy sees a question by it.

/** The views; each is a section of the page. */
export const VIEWS = ["ask", "compare", "versions"];

/** Return the view and the parameters that the address's fragment describes. */
export function current() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { view: VIEWS.includes(path) ? path : "ask", parameters: new URLSearchParams(query) };
}

/** Return the pipeline that the address names; empty for the server's first. */
export const pipelineName = () => current().parameters.get("pipeline") ?? "";
