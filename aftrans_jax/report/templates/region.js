// From the layers' class rows to the box, as model/sacm.py, model/components.py and model/regions.py
// compute it: the names are theirs. Nothing here touches the page.
//
// JavaScript's numbers are float64, the model's float32. A product, quotient or sum of two float32
// is rounded twice without harm (float64 has more than twice the digits), so `float32` after each
// step gives the bits that float32 arithmetic gives. One thing is left to the model's device: the
// order in which it sums the layers. Here it is layer after layer; where the layers are the model's
// own, its relevance is taken as it is and not summed again.
"use strict";

const SMALLEST_NORMAL = 2 ** -126;

/** x as a float32; as in XLA on a CPU, 0 where it is too small to be a normal one. */
function float32(x) {
  const rounded = Math.fround(x);
  return Math.abs(rounded) < SMALLEST_NORMAL ? 0 : rounded;
}

/** x as a whole number, halves to the even one, as numpy and Python round. */
function roundHalfEven(x) {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

// ---------------------------------------------------------------------------------- model/sacm.py

/** The gated sum of the layers' class rows, layer after layer. */
function relevance(gate, layerRows) {
  const sum = new Float32Array(layerRows[0].length);
  layerRows.forEach((row, layer) => {
    row.forEach((value, patch) => {
      sum[patch] = float32(sum[patch] + float32(gate[layer] * value));
    });
  });
  return sum;
}

/** How many of `count` values are kept, at least one. */
function numKept(count, keepRatio) {
  return Math.max(1, roundHalfEven(count * keepRatio));
}

/** The k-th largest of non-negative values; a NaN counts as largest. */
function kthLargest(values, k) {
  const ascending = Float32Array.from(values).sort(); // of a typed array: as numbers, NaN last
  return ascending[values.length - k];
}

/** Whether each value is among the best; all that tie with the last one kept are, but no zeros. */
function keepBest(values, keepRatio) {
  const threshold = kthLargest(values, numKept(values.length, keepRatio));
  return Array.from(values, (value) => value >= threshold && value > 0);
}

/** Of each layer, which patches are in the best (layer, patch) pairs. */
function bestPairs(gate, layerRows, keepRatio) {
  const numPatches = layerRows[0].length;
  const gated = new Float32Array(layerRows.length * numPatches);
  layerRows.forEach((row, layer) => {
    row.forEach((value, patch) => {
      gated[layer * numPatches + patch] = float32(gate[layer] * value);
    });
  });
  const kept = keepBest(gated, keepRatio);
  return layerRows.map((_, layer) => kept.slice(layer * numPatches, (layer + 1) * numPatches));
}

/** Which patches each selection keeps, of gates, class rows and their fused relevance. */
const SELECTIONS = {
  fused: ({ fused }, keepRatio) => keepBest(fused, keepRatio),

  union({ gate, layerRows, fused }, keepRatio) {
    const pairs = bestPairs(gate, layerRows, keepRatio);
    return Array.from(fused, (_, patch) => pairs.some((layer) => layer[patch]));
  },

  votes({ gate, layerRows, fused }, keepRatio) {
    const pairs = bestPairs(gate, layerRows, keepRatio);
    const highest = fused.reduce((a, b) => Math.max(a, b));
    const ranked = fused.map((value, patch) => {
      const votes = pairs.filter((layer) => layer[patch]).length;
      return float32(votes + float32((0.5 * value) / highest));
    });
    return keepBest(ranked, keepRatio);
  },
};

// ---------------------------------------------------------------------------- model/components.py

/**
 * The 8-connected components of a mask of rows * cols cells: for each cell the smallest raster
 * index in its component, rows * cols in the background.
 */
function labelComponents(mask, rows, cols) {
  const background = rows * cols;
  const labels = new Int32Array(background).fill(background);
  const isNew = (cell) => mask[cell] && labels[cell] === background;
  for (let first = 0; first < background; first++) {
    if (!isNew(first)) continue;
    labels[first] = first;
    const found = [first];
    while (found.length) {
      const cell = found.pop();
      const row = Math.floor(cell / cols);
      const col = cell % cols;
      for (let r = Math.max(row - 1, 0); r <= Math.min(row + 1, rows - 1); r++) {
        for (let c = Math.max(col - 1, 0); c <= Math.min(col + 1, cols - 1); c++) {
          const neighbour = r * cols + c;
          if (!isNew(neighbour)) continue;
          labels[neighbour] = first;
          found.push(neighbour);
        }
      }
    }
  }
  return labels;
}

/** The component whose cells weigh most together; of equally heavy ones the first in the raster. */
function heaviestComponent(labels, weights) {
  const background = labels.length;
  const sums = new Float64Array(background); // of whole numbers below 2^31: exact
  labels.forEach((label, cell) => {
    if (label !== background) sums[label] += weights[cell];
  });
  const heaviest = sums.indexOf(sums.reduce((a, b) => Math.max(a, b)));
  return Array.from(labels, (label) => label === heaviest);
}

// ------------------------------------------------------------------------------- model/regions.py

function largest(labels) {
  return heaviestComponent(labels, labels.map(() => 1));
}

function mostRelevant(labels, fused) {
  const highest = Math.max(fused.reduce((a, b) => Math.max(a, b)), Math.fround(1e-30));
  const share = fused.map((value) => float32(value / highest));
  const steps = Math.min(1e6, Math.floor((2 ** 31 - 1) / fused.length));
  return heaviestComponent(labels, share.map((x) => Math.max(roundHalfEven(float32(x * steps)), 1)));
}

function extremeValues(labels) {
  return Array.from(labels, (label) => label !== labels.length);
}

const found = (box) => box;

function centred([top, left, bottom, right], imageSize) {
  const [height, width] = [bottom - top, right - left];
  const corner = [Math.floor((imageSize - height) / 2), Math.floor((imageSize - width) / 2)];
  return [...corner, corner[0] + height, corner[1] + width];
}

const whole = (_, imageSize) => [0, 0, imageSize, imageSize];

/** Which patches the box spans, and where the box is put. */
const REGION_METHODS = {
  largest_component: { keep: largest, place: found },
  most_relevant_component: { keep: mostRelevant, place: found },
  extreme_values: { keep: extremeValues, place: found },
  centred: { keep: largest, place: centred },
  whole: { keep: extremeValues, place: whole },
};

/**
 * The components of a mask, the patches that are kept of it, and the box around them:
 * [top, left, bottom, right], half-open, in pixels of the global image.
 */
function locateRegion(mask, fused, { method, rows, cols, imageSize, patchSize, stride, minBox }) {
  const labels = labelComponents(mask, rows, cols);
  const { keep, place } = REGION_METHODS[method];
  const kept = keep(labels, fused);
  const cells = kept.flatMap((isKept, cell) => (isKept ? [cell] : []));
  const extent = (numbers) => [
    stride * numbers.reduce((a, b) => Math.min(a, b), Infinity),
    stride * numbers.reduce((a, b) => Math.max(a, b), -Infinity) + patchSize,
  ];
  const [top, bottom] = extent(cells.map((cell) => Math.floor(cell / cols)));
  const [left, right] = extent(cells.map((cell) => cell % cols));
  const isUsable = cells.length > 0 && Math.min(bottom - top, right - left) >= minBox;
  const box = isUsable ? [top, left, bottom, right] : whole(null, imageSize);
  return { labels, kept, box: place(box, imageSize) };
}

// ------------------------------------------------------------------------------- model/aftrans.py

/**
 * What the model would select, label and box with these settings.
 *
 * @param values gate and layerRows of all layers, and modelRelevance: of the model's own layers.
 * @param settings layers (numbers from 1 on), keepRatio, selection, method.
 * @param geometry of the model: rows, cols, imageSize, sourceSize, patchSize, stride, minBox, and
 *   layers: its own.
 * @returns relevance, mask, labels, kept, and box in pixels of the source image.
 */
function region({ gate, layerRows, modelRelevance }, settings, geometry) {
  const { layers, keepRatio, selection, method } = settings;
  const on = {
    gate: layers.map((layer) => gate[layer - 1]),
    layerRows: layers.map((layer) => layerRows[layer - 1]),
  };
  const isOwn = String(layers) === String(geometry.layers);
  on.fused = isOwn ? modelRelevance : relevance(on.gate, on.layerRows);
  const mask = SELECTIONS[selection](on, keepRatio);
  const { labels, kept, box } = locateRegion(mask, on.fused, { ...geometry, method });
  const scale = Math.fround(geometry.sourceSize / geometry.imageSize);
  const inSource = box.map((edge) => roundHalfEven(float32(scale * edge)));
  return { relevance: on.fused, mask, labels, kept, box: inSource };
}
