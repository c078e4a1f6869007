// One picture on the page: a tile, and when it is opened its answer in full, where the network looked, and the request.

import { paint, paintScale } from "./heat.js";
import { curl, isolated, safe } from "./safe.js";
import { address, locked, send } from "./server.js";
import { known, label, put, say } from "./words.js";

const SIDE = 256; // pixels of a heat map
const OPACITY = 0.55; // of a heat map, as `resnets explain` draws it
const SMALL = 128; // a network's input up to this size is shown in its own pixels

/** A new element: its tag, its class and what is in it. */
export function make(tag, style = "", ...inside) {
  const element = document.createElement(tag);
  if (style) element.className = style;
  element.append(...inside);
  return element;
}

/** A name from outside as text of its own direction. */
export function named(text, tag = "bdi", style = "") {
  return make(tag, style, safe(text));
}

/** A probability as people read it; it never claims certainty. */
export function percent(p) {
  if (p > 0.9995) return "> 99.9\u00a0%";
  return p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`;
}

function button(word, pressed) {
  const element = put(make("button"), word);
  element.type = "button";
  element.addEventListener("click", pressed);
  return element;
}

function bar(share) {
  const meter = make("span", "bar", make("i"));
  meter.firstChild.style.width = `${100 * share}%`;
  return meter;
}

/** Let the list item of PICTURE show how far it is. */
export function show(picture, model) {
  if (picture.open && picture.answer) openCard(picture, model);
  else showTile(picture, model);
}

function showTile(picture, model) {
  const { answer, problem, item, file } = picture;
  const thumb = make("span", "thumb");
  if (picture.seen) thumb.append(seenImage(picture, model, ""));
  const said = make("span", "said");
  if (answer) {
    const best = answer.classes[0];
    const words = answer.sure ? named(best.name, "b") : put(make("b", "unsure"), "unsure");
    said.append(words, bar(best.probability), make("span", "p", percent(best.probability)));
  } else if (problem) {
    said.append(put(make("b", "failed"), "failed"), put(make("span", "why"), problem.word, problem.values));
  } else {
    said.append(put(make("span", "state"), picture.sent ? "sending" : "waiting"));
  }
  const name = named(file.name, "span", "file");
  name.title = name.textContent;
  const tile = make(answer ? "button" : "div", "tile", thumb, said, name);
  if (answer) {
    tile.type = "button";
    tile.setAttribute("aria-expanded", "false");
    tile.addEventListener("click", () => {
      openCard(picture, model);
      item.querySelector("button").focus();
    });
  }
  item.className = answer ? "" : problem ? "failed" : "pending";
  item.replaceChildren(tile);
}

function seenImage(picture, model, alt) {
  const image = make("img", model.preprocessing.size <= SMALL ? "tiny" : "");
  image.src = picture.seen;
  image.alt = alt;
  image.decoding = "async";
  image.loading = "lazy";
  return image;
}

function openCard(picture, model) {
  const { answer, item, file } = picture;
  const best = answer.classes[0];
  picture.open = true;
  item.className = "open";

  const close = button("close", () => {
    picture.open = false;
    showTile(picture, model);
    item.querySelector("button").focus();
  });
  close.className = "quiet";
  close.setAttribute("aria-expanded", "true");
  const title = answer.sure ? named(best.name, "h2") : put(make("h2", "unsure"), "unsure");
  const line = make("div", "answer", title, make("span", "p", answer.sure ? percent(best.probability) : ""));
  const head = make("div", "head", make("div", "", line, named(file.name, "p", "file")), close);

  const figure = seenFigure(picture, model);
  const told = make("div", "told", head);
  if (!answer.sure) {
    const values = { name: isolated(best.name), p: percent(best.probability), threshold: percent(model.reject_below) };
    told.append(put(make("p", "note"), "unsure_about", values));
  }
  const heat = heatView(picture, model, figure.firstChild);
  told.append(bars(answer.classes, model.explains ? heat.pick : null), heat.controls, timing(answer), request(picture, model));
  item.replaceChildren(make("article", "card", figure, told));
}

function seenFigure(picture, model) {
  const { size, fit } = model.preprocessing;
  const image = seenImage(picture, model, say("seen_alt", { file: safe(picture.file.name) }));
  const caption = put(make("figcaption"), fit === "crop" ? "as_seen_crop" : "as_seen", { size });
  return make("figure", "", make("div", "frame", image), caption);
}

/** The classes as bars; with PICK each is a button that has it called with the class. */
function bars(classes, pick) {
  const list = make("ol", "bars");
  for (const { name, probability } of classes) {
    const row = make(pick ? "button" : "div", "", named(name, "span", "name"), bar(probability), make("span", "p", percent(probability)));
    if (pick) {
      row.type = "button";
      row.setAttribute("aria-pressed", "false");
      row.addEventListener("click", () => pick(name));
    }
    row.dataset.name = name;
    list.append(make("li", "", row));
  }
  return list;
}

function timing({ milliseconds }) {
  const spent = Object.values(milliseconds).reduce((a, b) => a + b);
  const values = Object.fromEntries(Object.entries({ all: spent, ...milliseconds }).map(([k, v]) => [k, v.toFixed(1)]));
  return put(make("p", "note time"), "time", values);
}

/** The heat map over FRAME: its controls, and `pick`, which shows the map of a class. */
function heatView(picture, model, frame) {
  const canvas = make("canvas", "heat");
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("role", "img");
  const scale = make("canvas", "scale");
  [scale.width, scale.height] = [96, 8];
  const slider = label(make("input"), "opacity");
  Object.assign(slider, { type: "range", min: 0, max: 100, value: 100 * OPACITY });
  const fade = () => (canvas.style.opacity = slider.value / 100);
  slider.addEventListener("input", fade);
  const ramp = make("span", "ramp", put(make("span"), "faint"), scale, put(make("span"), "strong"));
  const told = make("p", "note");
  const panel = make("div", "panel", told, ramp, slider);
  const hint = put(make("p", "note"), model.explains ? "pick_class" : "not_explained");
  const toggle = button("where", () => (canvas.isConnected ? hide() : pick(picture.answer.classes[0].name)));
  const controls = make("div", "looked", ...(model.explains ? [toggle] : []), hint);
  let asked = "";

  const press = (name) => {
    for (const row of picture.item.querySelectorAll("[aria-pressed]")) {
      row.setAttribute("aria-pressed", String(row.dataset.name === name));
    }
  };
  const hide = () => {
    asked = "";
    canvas.remove();
    panel.remove();
    press("");
    put(toggle, "where");
  };
  const pick = async (name) => {
    asked = name;
    press(name);
    try {
      const query = { model: model.model, class: name };
      const found = await send("explain", query, picture.file, picture.type);
      if (asked !== name) return; // another class was chosen meanwhile
      paint(canvas, found.map);
      paintScale(scale);
      label(canvas, "heat_alt", { name: safe(name) });
      put(told, "where_for", { name: `${isolated(name)} (${percent(found.probability)}, ${found.method})` });
      frame.append(canvas);
      fade();
      controls.append(panel);
      put(toggle, "hide_where");
    } catch (problem) {
      hide();
      const { word, values } = reason(problem);
      put(hint, word, values);
    }
  };
  return { controls, pick };
}

/** Why there is no answer, as a text of the page: {word, values}. */
export function reason({ status, message }) {
  if (!status) return { word: known(message) ? message : "not_sent" };
  const word = known(`status_${status}`) ? `status_${status}` : "status_other";
  return { word, values: { sentence: isolated(message) } };
}

/** The request for just this picture, to copy. */
function request(picture, model) {
  const where = address("predict", { model: model.model, top: 5 });
  const code = make("code", "", curl(picture.file.name, picture.type, where, locked()));
  const copy = button("copy", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      put(copy, "copied");
    } catch {
      getSelection().selectAllChildren(code); // a page from another computer may not write to the clipboard
      put(copy, "select");
    }
  });
  return make("details", "request", put(make("summary"), "curl"), make("pre", "", code), copy);
}
