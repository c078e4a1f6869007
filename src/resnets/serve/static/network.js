// The tab that shows the network: its figures, its stages with their units, and what happens before and after it.

import { make, named, percent } from "./card.js";
import {
  headDrawing, sample, shortcutKind, stemDrawing, unitDrawing, vggConv, vggHead, vggPool,
} from "./drawing.js";
import { label, put } from "./words.js";

const DRAWN = 6; // units of a stage that are drawn one by one

/** A count as it is written of networks: 11.7 M. */
function short(count) {
  const [unit, sign] = [[1e9, " G"], [1e6, " M"], [1e3, " k"]].find(([each]) => count >= each) ?? [1, ""];
  return `${unit === 1 ? count : (count / unit).toPrecision(3)}${sign}`;
}

/** Draw into PLACE the network that the server describes by FACTS. */
export function drawNetwork(place, facts) {
  const { spec, stages } = facts;
  const most = (what) => Math.max(1, ...stages.map((stage) => stage[what]));
  const peaks = { parameters: most("parameters"), multiply_adds: most("multiply_adds") };
  const drawn = spec.unit ? residual(spec) : vgg(spec);
  const rows = stages.map((stage, i) => stageRow(stage, drawn[i] ?? {}, peaks));
  place.replaceChildren(cards(facts), about(spec), make("div", "stages", ...rows), key(spec), processing(facts));
}

function cards({ layers, parameters, multiply_adds, preprocessing: { size, channels }, classes }) {
  const rows = [
    ["layers", layers],
    ["parameters", short(parameters)],
    ["multiply_adds", short(multiply_adds)],
    ["input", `${size} × ${size}`],
    ["classes", classes.length],
  ].map(([name, figure]) =>
    make(
      "div", "",
      put(make("dt"), `card_${name}`),
      make("dd", "figure", String(figure)),
      put(make("dd"), `about_${name}`, { channels }),
    ),
  );
  return make("dl", "cards", ...rows);
}

function about(spec) {
  const place = make("div", "about");
  for (const [word, values] of sentences(spec)) place.append(put(make("p"), word, values));
  return place;
}

function sentences({ unit }) {
  if (!unit) return [["net_vgg"]];
  const kinds = { none: "net_plain", gate: "net_gate", "shortcut-gate": "net_gate" };
  const found = [[kinds[unit.merge] ?? "net_residual"]];
  if (unit.order.before.length) found.push(["net_before"]);
  if (unit.stochastic_depth) found.push(["net_depth", { p: unit.stochastic_depth }]);
  return found;
}

/** For stem, stages and head of a residual network: how many units they have, and drawings of them. */
function residual(spec) {
  let inside = spec.stem.width;
  const stages = spec.stages.map(({ units, width, stride }, number) => {
    const first = unitDrawing(spec.unit, inside, width, stride, number === 0);
    inside = width;
    const other = () => unitDrawing(spec.unit, width, width, 1, false);
    const others = Array.from({ length: units <= DRAWN ? units - 1 : 1 }, other);
    const folded = units > DRAWN ? units - 1 : 0;
    return { word: "units", count: units, drawings: [first, ...others], folded };
  });
  return [{ drawings: [stemDrawing(spec.stem)] }, ...stages, { drawings: [headDrawing(spec)] }];
}

function vgg(spec) {
  const groups = spec.convs.map((count, i) => {
    const drawings = Array.from({ length: count }, () => vggConv(spec.widths[i], spec.bn));
    return { word: "convolutions", count, drawings: [...drawings, vggPool()], folded: 0 };
  });
  return [...groups, { drawings: [vggHead(spec)] }];
}

function stageRow(stage, { word, count, drawings = [], folded }, peaks) {
  const [channels, ...sides] = stage.output;
  const size = [...sides, channels].join(" × ");
  const said = make("div", "name", named(stage.name, "h3"), make("p", "note", size));
  if (word) said.append(put(make("p", "note"), word, { n: count }));
  const shown = make("div", "units", ...drawings);
  if (word) label(shown, "drawn_units", { name: stage.name, n: count }).setAttribute("role", "img");
  if (folded) {
    const many = put(make("b"), "times", { n: folded });
    shown.append(make("span", "folded", shown.lastChild, many));
  }
  const shares = make("dl", "shares");
  for (const what of ["parameters", "multiply_adds"]) {
    const meter = make("span", "bar", make("i"));
    meter.firstChild.style.width = `${(100 * stage[what]) / peaks[what]}%`;
    shares.append(make("div", "", put(make("dt"), what), make("dd", "", short(stage[what])), make("dd", "", meter)));
  }
  return make("section", "stage", said, shown, shares);
}

/** What the signs mean, of those that this network has. */
function key(spec) {
  const { unit, stages, stem } = spec;
  const order = unit && [...unit.order.before, ...unit.order.between, ...unit.order.last, ...unit.order.after];
  const kinds = new Set();
  if (unit && unit.merge !== "none") {
    let inside = stem.width;
    for (const { units, width, stride } of stages) {
      kinds.add(shortcutKind(unit, inside, width, stride));
      if (units > 1) kinds.add(shortcutKind(unit, width, width, 1));
      inside = width;
    }
  }
  const signs = ["conv", ...(order?.includes("bn") || spec.bn || unit ? ["bn"] : []), "relu"];
  signs.push(...["identity", "zeros", "projection"].filter((kind) => kinds.has(kind)));
  if (unit?.merge.endsWith("gate")) signs.push("gate");
  const rows = signs.map((sign) => make("li", "", sample(sign), put(make("span"), `key_${sign}`)));
  return make("section", "", put(make("h2"), "key"), make("ul", "key", ...rows));
}

function processing({ preprocessing, temperature, reject_below, classes }) {
  const { size, fit, crop_pct, interpolation } = preprocessing;
  const resized = Math.max(size, Math.trunc(size / crop_pct));
  const lines = [put(make("p"), `fit_${fit}`, { size, resized, filter: interpolation })];
  if (temperature !== 1) lines.push(put(make("p"), "calibrated", { temperature: temperature.toFixed(2) }));
  if (reject_below > 0) lines.push(put(make("p"), "threshold", { threshold: percent(reject_below) }));
  const names = make("details", "", put(make("summary"), "all_classes", { n: classes.length }));
  names.addEventListener("toggle", () => {
    if (names.children.length === 1) names.append(make("ol", "names", ...classes.map((name) => named(name, "li"))));
  });
  return make("section", "", put(make("h2"), "before"), ...lines, names);
}
