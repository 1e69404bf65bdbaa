// The page: shows why a pipeline answers as it does.
//
// Knows the views and the address; what a view shows, its own module knows.

import { VIEWS, current, pipelineName } from "./address.js";
import { showAsk, stopAsking } from "./ask.js";
import { showCompare } from "./compare.js";
import { firstAddress, isRecorded, markPresent, showContents } from "./contents.js";
import { ServerError } from "./errors.js";
import { find } from "./nodes.js";
import { recording } from "./recording.js";
import { json, tokens } from "./requests.js";
import { showSwap } from "./swap.js";
import { offer, rollBack, showVersions } from "./versions.js";

const SHOW = { ask: showAsk, compare: showCompare, versions: showVersions };

let shownView = null;

function route(again = false) {
  if (recording && !isRecorded(current())) history.replaceState(null, "", firstAddress());
  const { view, parameters } = current();
  for (const name of VIEWS) find(`view-${name}`).hidden = name !== view;
  const pipeline = parameters.get("pipeline");
  for (const link of document.querySelectorAll("a[data-view]")) {
    link.href = `#/${link.dataset.view}${pipeline ? `?${new URLSearchParams({ pipeline })}` : ""}`;
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector(`#view-${view} h1`).textContent} · ragcore`;
  // One who reads by keyboard goes on at the new view; the first view leaves the focus alone.
  if (shownView && shownView !== view) find("main").focus();
  shownView = view;
  if (pipeline) find("pipeline").value = pipeline;
  if (recording) markPresent();
  SHOW[view](parameters, again);
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
  find("stop").addEventListener("click", stopAsking);
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
  if (recording) {
    for (const node of document.querySelectorAll("[data-server]")) node.hidden = true;
    showSwap();
    showContents();
  } else showPipelines();
  route();
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
