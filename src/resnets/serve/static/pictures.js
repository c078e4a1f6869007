// All pictures: taking them in, sending a few at a time, counting, filtering, and the table to download.

import { make, named, reason, show } from "./card.js";
import { csv, safe } from "./safe.js";
import { send } from "./server.js";
import { put } from "./words.js";

const AT_ONCE = 4; // requests in flight
const TOP = 5; // classes of an answer
const OPENED = 4; // so many pictures are shown in full without asking
const FILTERED = 8; // from so many on they can be filtered
const UNKNOWN = "application/octet-stream"; // the server looks at what is in a file, not at its name
const NAMES = 12; // classes offered as filters

const find = (id) => document.getElementById(id);
const pictures = [];
const queue = [];
let model = null;
let flying = 0;
let only = ""; // what is shown: "" everything, or the kind of a picture
let counting = false;

/** Take FILES as pictures to be named. */
export function add(files) {
  const few = pictures.length + files.length <= OPENED;
  const items = files.map((file) => {
    const picture = { file, type: file.type || UNKNOWN, item: make("li"), open: few, answer: null, problem: null, seen: "" };
    pictures.push(picture);
    picture.problem = objection(picture);
    if (!picture.problem) queue.push(picture);
    show(picture, model);
    return picture.item;
  });
  find("list").append(...items);
  next();
}

/** Name all pictures by the model of which the server says FACTS. */
export function use(facts) {
  const other = model && (model.model !== facts.model || String(model.classes) !== String(facts.classes));
  model = facts;
  if (other) ask(pictures.filter((picture) => !objection(picture)));
  else next();
}

/** Forget all pictures. */
export function clear() {
  for (const picture of pictures) forget(picture);
  pictures.length = queue.length = 0;
  only = "";
  find("list").replaceChildren();
  count();
}

/** Send the pictures without an answer once more. */
export function askFailed() {
  ask(pictures.filter((picture) => picture.problem && !objection(picture)));
}

/** Let a file with the table of all answers be saved. */
export function saveTable() {
  const top = Math.min(TOP, model?.classes.length ?? TOP);
  const names = Array.from({ length: top }, (_, i) => [`class_${i + 1}`, `probability_${i + 1}`]).flat();
  const rows = pictures.map(({ file, answer, problem }) => {
    const found = answer?.classes.slice(0, top) ?? [];
    const cells = found.flatMap(({ name, probability }) => [name, probability.toFixed(6)]);
    const sure = answer ? (answer.sure ? "yes" : "no") : "";
    return [file.name, ...cells, ...Array(2 * top - cells.length).fill(""), sure, problem ? why(problem) : ""];
  });
  save(new Blob(["\ufeff", csv([["file", ...names, "sure", "error"], ...rows])], { type: "text/csv" }), "answers.csv");
}

/** Let the browser save BLOB as a file called NAME. */
export function save(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function why(problem) {
  return put(make("span"), problem.word, problem.values).textContent;
}

/** Why PICTURE need not be sent at all, null where it may be. */
function objection({ file, type }) {
  if (!type.startsWith("image/") && type !== UNKNOWN) return { word: "not_picture", values: { type: safe(type) } };
  const limit = model?.limits.bytes ?? Infinity;
  if (file.size <= limit) return null;
  return { word: "too_large", values: { size: (file.size / 1e6).toFixed(1), limit: (limit / 1e6).toFixed(0) } };
}

function ask(again) {
  for (const picture of again) {
    forget(picture);
    Object.assign(picture, { answer: null, problem: null, sent: false });
    if (!queue.includes(picture)) queue.push(picture);
    show(picture, model);
  }
  next();
}

function forget(picture) {
  URL.revokeObjectURL(picture.seen);
  picture.seen = "";
  picture.round = (picture.round ?? 0) + 1; // an answer that is still to come belongs to the round before
}

function next() {
  while (model && flying < AT_ONCE && queue.length) {
    flying++;
    name(queue.shift()).finally(() => {
      flying--;
      next();
    });
  }
  count();
}

async function name(picture) {
  picture.problem = objection(picture); // the limits may not have been known before
  const { round } = picture;
  const found = picture.problem ?? (await answered(picture));
  if (picture.round !== round) return;
  if (found.classes) {
    picture.seen = URL.createObjectURL(asBlob(found.seen));
    picture.answer = { ...found, seen: "" };
  } else {
    picture.problem = found;
  }
  show(picture, model);
}

async function answered(picture) {
  picture.sent = true;
  show(picture, model);
  try {
    return await send("predict", { model: model.model, top: TOP, seen: true }, picture.file, picture.type);
  } catch (problem) {
    return reason(problem);
  }
}

/** The bytes of a data URL. */
function asBlob(url) {
  const [head, text] = url.split(",");
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

/** Bring the summary and the filters up to date, at most once a frame. */
function count() {
  if (counting) return;
  counting = true;
  requestAnimationFrame(() => {
    counting = false;
    summarise();
    offerFilters();
  });
}

function summarise() {
  const done = pictures.filter((picture) => picture.answer || picture.problem);
  const unsure = pictures.filter(({ answer }) => answer && !answer.sure).length;
  const failed = pictures.filter(({ problem }) => problem);
  const answers = done.length - failed.length;
  find("summary").hidden = pictures.length === 0;
  put(find("invitation"), pictures.length ? "more_here" : "drop_here");
  find("drop").classList.toggle("small", pictures.length > 0);
  Object.assign(find("progress"), { max: pictures.length || 1, value: done.length });
  find("progress").classList.toggle("over", done.length === pictures.length);
  const parts = [put(make("span"), "counts", { done: answers, all: pictures.length })];
  if (unsure) parts.push(put(make("span"), "unsure_count", { n: unsure }));
  if (failed.length) parts.push(put(make("span", "bad"), "failed_count", { n: failed.length }));
  if (answers > 1) parts.push(put(make("span"), "pace", { n: middle().toFixed(1) }));
  find("counts").replaceChildren(...parts);
  find("failed-again").hidden = !failed.some((picture) => !objection(picture));
}

/** The median time of an answer in the server, in milliseconds. */
function middle() {
  const times = pictures.filter(({ answer }) => answer).map(({ answer }) => sum(Object.values(answer.milliseconds)));
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
}

function sum(numbers) {
  return numbers.reduce((a, b) => a + b, 0);
}

/** What PICTURE is filtered by: "!" no answer, "?" not sure, "=" and the name of its class, "" none yet. */
function kind({ answer, problem }) {
  if (problem) return "!";
  if (!answer) return "";
  return answer.sure ? `=${answer.classes[0].name}` : "?";
}

function offerFilters() {
  const counts = new Map();
  for (const picture of pictures) counts.set(kind(picture), (counts.get(kind(picture)) ?? 0) + 1);
  counts.delete("");
  if (!counts.has(only)) only = "";
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, NAMES);
  const group = find("filter");
  group.hidden = pictures.length < FILTERED || most.length < 2;
  const focused = group.contains(document.activeElement) ? document.activeElement.dataset.kind : null;
  group.replaceChildren(...[["", pictures.length], ...most].map(([which, n]) => filterButton(which, n)));
  if (focused !== null) [...group.children].find((each) => each.dataset.kind === focused)?.focus();
  for (const picture of pictures) picture.item.hidden = !group.hidden && only !== "" && kind(picture) !== only;
}

function filterButton(which, n) {
  const words = { "": "everything", "?": "unsure_count", "!": "failed_count" }[which];
  const button = words ? put(make("button"), words, { n }) : make("button", "", named(which.slice(1)), ` ${n}`);
  button.type = "button";
  button.dataset.kind = which;
  button.setAttribute("aria-pressed", String(which === only));
  button.addEventListener("click", () => {
    only = which;
    offerFilters();
  });
  return button;
}
