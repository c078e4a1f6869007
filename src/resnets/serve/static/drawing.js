// The units of a network drawn from its spec: what a unit computes along a line, and what is carried past it above.

const SVG = "http://www.w3.org/2000/svg";
const LINE = 62; // y of the line that the layers stand on
const LOW = 92; // height of a drawing
const BOX = 38; // width of a convolution
const TALL = 48; // height of a convolution with all channels of its unit
const SLIVER = 4; // width of BN and of ReLU
const GAP = 7;

function svg(tag, attributes, ...inside) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

function words(x, y, text, style = "") {
  return svg("text", { x, y, class: style }, String(text));
}

/** A layer that holds weights: its two lines of text, and how high it is, between 0 and 1. */
function box(top, bottom, share = 1, style = "") {
  const height = 28 + (TALL - 28) * share;
  return {
    width: BOX,
    draw: (x) => [
      svg("rect", { x, y: LINE - height / 2, width: BOX, height, rx: 4, class: `box ${style}` }),
      words(x + BOX / 2, LINE - 2, top),
      words(x + BOX / 2, LINE + 10, bottom, "soft"),
    ],
  };
}

const sliver = (style) => ({
  width: SLIVER,
  draw: (x) => [svg("rect", { x, y: LINE - 14, width: SLIVER, height: 28, rx: 1.5, class: style })],
});
const SPACE = { width: 5, draw: () => [] };
const LAYERS = { bn: sliver("bn"), relu: sliver("relu") };

function conv(kernel, channels, { stride = 1, share = 1, style = "" } = {}) {
  return box(`${kernel}×${kernel}${stride > 1 ? `/${stride}` : ""}`, channels, share, style || (kernel === 1 ? "one" : ""));
}

/** Where the shortcut and the convolutions meet. */
const MEETING = {
  width: 16,
  meets: true,
  draw: (x) => [svg("circle", { cx: x + 8, cy: LINE, r: 8, class: "meets" }), words(x + 8, LINE + 4.2, "+")],
};

/** A factor on the line. */
const factor = (text) => ({
  width: 26,
  draw: (x) => [svg("rect", { x, y: LINE - 10, width: 26, height: 20, rx: 10, class: "factor" }), words(x + 13, LINE + 4, text)],
});

/** A drawing of LAYERS one after the other; SHORTCUT {from, style, text} leads past those from number `from` on. */
function strip(layers, shortcut = null) {
  const starts = [];
  let x = GAP + 4;
  for (const layer of layers) {
    starts.push(x);
    x += layer.width + (layer.width === SLIVER ? 3 : GAP);
  }
  const width = x + 4;
  const top = shortcut ? 0 : 2 * LINE - LOW; // as much above the line as below it
  const view = `0 ${top} ${width} ${LOW - top}`;
  const drawing = svg("svg", { width, height: LOW - top, viewBox: view, "aria-hidden": "true" });
  drawing.append(svg("path", { d: `M0 ${LINE}H${width}`, class: "line" }));
  if (shortcut) drawing.append(...arc(starts, layers, shortcut));
  drawing.append(...layers.flatMap((layer, i) => layer.draw(starts[i])));
  return drawing;
}

function arc(starts, layers, { from, style, text, kind }) {
  const left = starts[from] - GAP;
  const right = starts[layers.findIndex((layer) => layer.meets)] + 8;
  const d = `M${left} ${LINE}C${left} ${LINE - 70} ${right} ${LINE - 70} ${right} ${LINE - 8}`;
  const drawn = [svg("path", { d, class: `shortcut ${style}` }), svg("circle", { cx: left, cy: LINE, r: 2.2, class: "dot" })];
  if (!text) return drawn;
  const middle = (left + right) / 2;
  const half = 3.4 * text.length + 5;
  const back = svg("rect", { x: middle - half, y: 1, width: 2 * half, height: 16, rx: 8, class: kind });
  return [...drawn, back, words(middle, 12.6, text)];
}

const MERGES = {
  add: () => ({}),
  none: () => null,
  scale: ({ scale }) => ({ text: `×${scale[0]}`, before: scale[1] === 1 ? "" : `×${scale[1]}` }),
  gate: () => ({ text: "×(1−g)", before: "×g" }),
  "shortcut-gate": () => ({ text: "×(1−g)" }),
  dropout: ({ dropout }) => ({ text: `×${Number((1 - dropout).toFixed(3))}` }),
};

const CARRIED = { identity: "", zeros: "+ 0", projection: "1×1" };

/** How the shortcut of a unit brings its input to the size of what is added: identity, zeros or projection. */
export function shortcutKind(unit, inside, width, stride) {
  const changes = stride !== 1 || inside !== width;
  if (unit.shortcut === "C" || (unit.shortcut === "B" && changes)) return "projection";
  return changes ? "zeros" : "identity";
}

/** A unit; INSIDE and WIDTH are its channels, ACTIVATED says that BN and ReLU have gone before it. */
export function unitDrawing(unit, inside, width, stride, activated) {
  const { before, between, last, after } = unit.order;
  const entering = activated ? [] : before.map((layer) => LAYERS[layer]);
  const middle = unit.convs.flatMap(({ kernel, width: share }, i) => [
    conv(kernel, Math.round(width * share), { stride: i === unit.strided ? stride : 1, share }),
    ...(i === unit.convs.length - 1 ? last : between).map((layer) => LAYERS[layer]),
  ]);
  const merge = MERGES[unit.merge](unit);
  const end = after.map((layer) => LAYERS[layer]);
  if (!merge) return strip([...entering, ...middle, ...end]);
  const kind = shortcutKind(unit, inside, width, stride);
  const text = merge.text ?? CARRIED[kind];
  if (kind === "projection" && entering.length) entering.push(SPACE); // it begins behind BN and ReLU
  const shortcut = { from: kind === "projection" ? entering.length : 0, style: kind, text, kind: merge.text ? "factor" : "back" };
  return strip([...entering, ...middle, ...(merge.before ? [factor(merge.before)] : []), MEETING, ...end], shortcut);
}

/** The first layers of a residual network. */
export function stemDrawing({ kernel, width, stride, pool }) {
  const layers = [conv(kernel, width, { stride }), LAYERS.bn, LAYERS.relu];
  return strip(pool ? [...layers, box("3×3/2", "max", 0.3, "pool")] : layers);
}

/** The last layers of a residual network. */
export function headDrawing({ unit, classes }) {
  return strip([...unit.order.before.map((layer) => LAYERS[layer]), box("mean", "1×1", 0.3, "pool"), box("fc", classes, 0.6, "fc")]);
}

/** One convolution of a VGG network, and one pooling. */
export function vggConv(width, bn) {
  return strip([conv(3, width), ...(bn ? [LAYERS.bn] : []), LAYERS.relu]);
}

/** The pooling that ends a group of a VGG network. */
export function vggPool() {
  return strip([box("2×2/2", "max", 0.3, "pool")]);
}

/** The last layers of a VGG network. */
export function vggHead({ hidden, classes }) {
  const linear = (outputs) => box("fc", outputs, 0.6, "fc");
  return strip([box("mean", "7×7", 0.3, "pool"), linear(hidden), LAYERS.relu, linear(hidden), LAYERS.relu, linear(classes)]);
}

/** What a sign of the drawings looks like by itself. */
export function sample(kind) {
  if (kind === "conv") return alone([conv(3, 64)]);
  if (kind in LAYERS) return alone([LAYERS[kind]]);
  if (kind === "gate") return alone([factor("×g")]);
  const path = svg("path", { d: "M3 32C3 2 45 2 45 32", class: `shortcut ${kind}` });
  const back = svg("rect", { x: 8, y: 1, width: 32, height: 16, rx: 8, class: "back" });
  const text = CARRIED[kind] ? [back, words(24, 12.6, CARRIED[kind])] : [];
  return svg("svg", { width: 48, height: 36, viewBox: "0 0 48 36", "aria-hidden": "true" }, path, ...text);
}

function alone([layer]) {
  const width = layer.width + 4;
  const view = `0 ${LINE - 26} ${width} 52`;
  return svg("svg", { width, height: 52, viewBox: view, "aria-hidden": "true" }, ...layer.draw(2));
}
