// A map of numbers as a picture: bilinear between the places, in colours of even steps (Matplotlib's "inferno").

const INFERNO = [
  [0, 0, 4], [11, 7, 36], [33, 12, 74], [61, 9, 101], [87, 16, 110], [113, 25, 110], [138, 34, 106], [163, 44, 97],
  [188, 55, 84], [210, 70, 68], [228, 90, 49], [241, 115, 29], [249, 142, 9], [252, 172, 17], [249, 203, 53], [242, 234, 105],
  [252, 255, 164],
];

/** The colour, [red, green, blue], of a VALUE between 0 and 1. */
export function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (INFERNO.length - 1);
  const below = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[below].map((dark, i) => Math.round(dark + (place - below) * (INFERNO[below + 1][i] - dark)));
}

/** MAP (h rows of w numbers) with SIDE × SIDE places, bilinear between the middles of its own, scaled to 0 … 1. */
export function spread(map, side) {
  const numbers = map.flat();
  const low = numbers.reduce((a, b) => Math.min(a, b));
  const range = numbers.reduce((a, b) => Math.max(a, b)) - low || 1;
  const rows = between(map.length, side);
  const columns = between(map[0].length, side);
  return rows.map(([top, bottom, down]) =>
    columns.map(([left, right, across]) => {
      const above = map[top][left] + across * (map[top][right] - map[top][left]);
      const below = map[bottom][left] + across * (map[bottom][right] - map[bottom][left]);
      return (above + down * (below - above) - low) / range;
    }),
  );
}

/** For each of SIDE places along COUNT numbers: the two numbers around it and how far it is to the second. */
function between(count, side) {
  return Array.from({ length: side }, (_, i) => {
    const place = Math.min(Math.max(((i + 0.5) * count) / side - 0.5, 0), count - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, count - 1), place - first];
  });
}

/** Paint MAP over all of CANVAS. */
export function paint(canvas, map) {
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  spread(map, canvas.width).flat().forEach((value, i) => image.data.set([...colour(value), 255], 4 * i));
  pen.putImageData(image, 0, 0);
}

/** Paint the scale of colours along CANVAS. */
export function paintScale(canvas) {
  const pen = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    pen.fillStyle = `rgb(${colour(x / (canvas.width - 1)).join(" ")})`;
    pen.fillRect(x, 0, 1, canvas.height);
  }
}
