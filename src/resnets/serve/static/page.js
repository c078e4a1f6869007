// The page: its tabs, its language, the model that answers, and the ways in which pictures come in.

import { make, named } from "./card.js";
import { drawNetwork } from "./network.js";
import { add, askFailed, clear, save, saveTable, use } from "./pictures.js";
import { isolated, safe } from "./safe.js";
import { address, describe, locked, lookAgain, report, unlock, whenAsked } from "./server.js";
import { label, put, switchLanguage, translate } from "./words.js";

const find = (id) => document.getElementById(id);
const TABS = ["pictures", "network", "run"];
let model = null;

/** Show what the server says of its model: above the tabs, and as the network. */
function present(facts) {
  if (JSON.stringify(facts) === JSON.stringify(model)) return;
  model = facts;
  find("name").firstChild.textContent = safe(facts.model);
  document.title = `${safe(facts.model)} · resnets`;
  find("facts").replaceChildren(...factsOf(facts));
  find("choice").hidden = facts.models.length < 2;
  find("models").replaceChildren(...facts.models.map((name) => new Option(safe(name), name, false, name === facts.model)));
  find("tab-run").hidden = !facts.report;
  if (![1, 3].includes(facts.preprocessing.channels)) find("choose").accept = ".npy,image/*";
  drawNetwork(find("network"), facts);
  find("run").replaceChildren();
  if (!find("run").hidden) choose(facts.report ? "run" : "pictures");
}

function factsOf({ network, layers, classes, engine, facts }) {
  const parts = [named(network), put(make("span"), "layers", { n: layers }), put(make("span"), "n_classes", { n: classes.length })];
  if (engine) parts.push(named(engine));
  const error = facts?.test_error;
  if (typeof error === "number") {
    const values = { error: error.toFixed(2), data: isolated(facts.data ?? "") };
    parts.push(put(make("span"), facts.data ? "test_error_on" : "test_error", values));
  }
  return parts;
}

/** Say above the tabs what is the matter with the server. */
function tell(state, facts, sentence) {
  if (facts) present(facts);
  find("banner").hidden = state === "ready";
  find("banner").className = `banner ${state}`;
  find("again").hidden = !["gone", "refused"].includes(state);
  find("lock").hidden = state !== "locked";
  if (state === "ready") use(facts);
  else put(find("state"), state, { sentence: isolated(sentence ?? "") });
}

function choose(tab) {
  for (const each of TABS) {
    const chosen = each === tab;
    find(each).hidden = !chosen;
    find(`tab-${each}`).setAttribute("aria-selected", String(chosen));
    find(`tab-${each}`).tabIndex = chosen ? 0 : -1;
  }
  if (tab === "run" && !find("run").firstChild) showRun();
}

/** The report of the run as a page in the page, as high as it is; behind a token it can be saved. */
function showRun() {
  if (locked()) {
    const button = put(make("button"), "save_report");
    button.addEventListener("click", async () => save(await report(model.model), "report.html"));
    find("run").append(button);
    return;
  }
  const frame = label(make("iframe"), "report");
  frame.setAttribute("sandbox", "allow-same-origin"); // to be measured; it may run nothing
  frame.src = address("report", { model: model.model });
  frame.addEventListener("load", () => {
    const inside = frame.contentDocument?.documentElement;
    if (inside) new ResizeObserver(() => (frame.style.height = `${inside.offsetHeight}px`)).observe(inside);
  });
  find("run").append(frame);
}

function turnTabs(event) {
  const seen = TABS.filter((tab) => !find(`tab-${tab}`).hidden);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const at = seen.indexOf(event.target.id.slice("tab-".length));
  if (!step || at < 0) return;
  const tab = seen.at((at + step) % seen.length);
  choose(tab);
  find(`tab-${tab}`).focus();
}

/** The files of what was dropped; folders are walked through. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(inside))).flat();
}

async function inside(entry) {
  if (entry.isFile) return new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) break; // a reader gives its folder piece by piece
    found.push(...some.filter(({ name }) => !name.startsWith(".")));
  }
  return (await Promise.all(found.map(inside))).flat();
}

function take(files) {
  if (!files.length) return;
  choose("pictures");
  add(files);
}

function listen() {
  find("language").addEventListener("click", switchLanguage);
  find("again").addEventListener("click", lookAgain);
  find("models").addEventListener("change", (event) => describe(event.target.value));
  find("csv").addEventListener("click", saveTable);
  find("clear").addEventListener("click", clear);
  find("failed-again").addEventListener("click", askFailed);
  find("lock").addEventListener("submit", (event) => {
    event.preventDefault();
    unlock(find("token").value);
  });
  find("tabs").addEventListener("keydown", turnTabs);
  for (const tab of TABS) find(`tab-${tab}`).addEventListener("click", () => choose(tab));
  for (const input of [find("choose"), find("camera")]) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = ""; // the same file may be chosen again
    });
  }
  document.addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])]));
  let over = 0; // elements under the pointer that were entered and not left
  const mark = (change) => {
    over = change ? Math.max(0, over + change) : 0;
    document.body.classList.toggle("over", over > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(0);
    take(await dropped(event.dataTransfer));
  });
}

find("camera").parentElement.hidden = navigator.maxTouchPoints === 0; // phones and tablets
put(find("promise"), "paste", { host: location.host });
translate();
find("page").hidden = false;
whenAsked(tell);
listen();
describe();
