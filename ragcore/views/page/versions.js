// The view of a memory's versions, and the lists of versions in the other views.
//
// Knows the routes of versions and of administration; knows nothing of answers.

import { pipelineName } from "./address.js";
import { ServerError, showError } from "./errors.js";
import { element, find, isolated, unseen } from "./nodes.js";
import { bytes, count } from "./numbers.js";
import { json, tokens } from "./requests.js";

// The versions of each pipeline's memory as the server lists them, by the pipeline's name.
const listings = new Map();

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
export async function versionNames(target) {
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
export function offer(list, names, chosen) {
  const empty = [...list.options].filter((option) => !option.value);
  const all = new Set(chosen ? [...names, chosen] : names);
  list.replaceChildren(...empty, ...[...all].map((name) => new Option(name, name)));
  list.value = chosen;
}

export function showServing(version) {
  find("serving").replaceChildren(isolated(version ?? "unknown"));
}

export async function showVersions() {
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
    element("td", { class: "number" }, count(version.passages)),
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

export const rollBack = () =>
  administer(
    "Go back to the version that was served before?",
    "v1/admin/rollback",
    {},
  );
