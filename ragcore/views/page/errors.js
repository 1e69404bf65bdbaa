// The errors that a view shows, and how it shows them.
//
// Knows the form for a token; knows nothing of requests.

import { element, find, isolated } from "./nodes.js";

/** An error that the server answers with, or that the way to it has. */
export class ServerError extends Error {
  constructor(type, message, status = 0) {
    super(message);
    this.type = type;
    this.status = status;
  }
}

/** Show an error where the view has room for it; 401 opens the form for a token. */
export function showError(target, error) {
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
