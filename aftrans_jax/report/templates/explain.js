// The page: controls in, pictures out. What is computed is in region.js and heat.js.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RULES = DATA.rules;
const GEOMETRY = {
  layers: RULES.layers,
  rows: RULES.rows,
  cols: RULES.cols,
  imageSize: RULES.image_size,
  sourceSize: RULES.source_size,
  patchSize: RULES.patch_size,
  stride: RULES.stride,
  minBox: RULES.min_box,
};
const NUM_PATCHES = RULES.rows * RULES.cols;
const PHOTOS = DATA.photos.map(unpacked);

const FORM = document.querySelector("form");
const CONTROLS = FORM.elements;
const LAYERS = [...FORM.querySelectorAll("[name=layer]")];
const VIEWS = [...document.querySelectorAll("details.photo")];

// ----------------------------------------------------------------------------------------- values

function bytes(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** The float32 that base64 means, written little-endian. */
function floats(base64) {
  const view = new DataView(bytes(base64).buffer);
  return Float32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

function unpacked(photo) {
  const gate = floats(photo.gate);
  const values = floats(photo.layer_rows);
  return {
    gate,
    layerRows: Array.from(gate, (_, layer) =>
      values.subarray(layer * NUM_PATCHES, (layer + 1) * NUM_PATCHES),
    ),
    modelRelevance: floats(photo.relevance),
    modelMask: bytes(photo.mask),
    modelBox: photo.box,
  };
}

// --------------------------------------------------------------------------------------- controls

let keepRatio = RULES.keep_ratio; // the slider has hundredths alone, the model any number

function settings() {
  return {
    layers: LAYERS.filter((box) => box.checked).map((box) => Number(box.value)),
    keepRatio,
    selection: CONTROLS.selection.value,
    method: CONTROLS.method.value,
  };
}

/** Whether the settings are the model's own, so that its region must come out. */
function areModels({ layers, keepRatio, selection, method }) {
  return (
    String(layers) === String(RULES.layers) &&
    keepRatio === RULES.keep_ratio &&
    selection === RULES.selection &&
    method === RULES.method
  );
}

function listen() {
  CONTROLS.ratio.addEventListener("input", () => {
    keepRatio = Number(CONTROLS.ratio.value);
  });
  for (const box of LAYERS) {
    box.addEventListener("input", () => {
      if (!LAYERS.some((other) => other.checked)) box.checked = true; // one stays on
    });
  }
  CONTROLS.everyLayer.addEventListener("click", () => {
    for (const box of LAYERS) box.checked = true;
    update();
  });
  CONTROLS.asModel.addEventListener("click", () => {
    FORM.reset();
    keepRatio = RULES.keep_ratio;
    update();
  });
  FORM.addEventListener("input", update); // after the listeners of the controls within
  FORM.addEventListener("submit", (event) => event.preventDefault());
  VIEWS.forEach((view, index) => view.addEventListener("toggle", () => show(index)));
}

function update() {
  CONTROLS.ratioText.value = `${Number((100 * keepRatio).toFixed(1))} %`;
  CONTROLS.asModel.disabled = areModels(settings());
  CONTROLS.everyLayer.disabled = LAYERS.every((box) => box.checked);
  VIEWS.forEach((_, index) => show(index));
}

// --------------------------------------------------------------------------------------- pictures

const COLORS = { rest: [10, 12, 16, 190], group: [255, 176, 59, 120], boxed: [0, 0, 0, 0] };
const HEAT = DATA.magma.map((color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)));

/** Paints a pixel for each patch. */
function paint(canvas, colorOf) {
  const image = new ImageData(RULES.cols, RULES.rows);
  for (let patch = 0; patch < NUM_PATCHES; patch++) image.data.set(colorOf(patch), 4 * patch);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Paints values in the colours of a heat map, from their own lowest to their own highest. */
function paintHeat(canvas, values) {
  const colors = heatColors(values, HEAT);
  paint(canvas, (patch) => [...colors[patch], 255]);
}

/** Draws the box over a photo, and the model's own where that is another one. */
function outline(svg, box, modelBox) {
  const boxes = [box, box, modelBox];
  svg.querySelectorAll("rect").forEach((rect, i) => {
    const [top, left, bottom, right] = boxes[i];
    const edges = { x: left, y: top, width: right - left, height: bottom - top };
    for (const [name, px] of Object.entries(edges)) rect.setAttribute(name, px);
  });
  svg.classList.toggle("same", String(box) === String(modelBox));
}

// ----------------------------------------------------------------------------------------- photos

/** Makes the parts of a photo's view, when it is first opened. */
function build(view, photo) {
  const thumb = view.querySelector("summary img");
  const body = document.getElementById("body").content.cloneNode(true);
  photo.gate.forEach((gate, layer) => {
    const tile = document.getElementById("layer").content.cloneNode(true);
    tile.querySelector("label").htmlFor = `layer-${layer + 1}`;
    tile.querySelector(".name").textContent = `Layer ${layer + 1}`;
    tile.querySelector(".gate").textContent = gate.toFixed(2);
    tile.querySelector(".bar").style.width = `${100 * gate}%`;
    paintHeat(tile.querySelector("canvas"), photo.layerRows[layer]);
    body.querySelector(".layers").append(tile);
  });
  for (const image of body.querySelectorAll("img")) {
    image.src = thumb.src;
    image.className = thumb.className;
  }
  const image = body.querySelector("image");
  image.setAttribute("href", thumb.src);
  image.setAttribute("class", thumb.className);
  for (const side of ["width", "height"]) image.setAttribute(side, thumb.getAttribute(side));
  view.querySelector(".body").append(body);
}

/** Shows a photo's region by the settings: its box in the summary, and all else where it is open. */
function show(index) {
  const [view, photo, chosen] = [VIEWS[index], PHOTOS[index], settings()];
  const result = region(photo, chosen, GEOMETRY);
  if (view.open && !view.querySelector(".panels")) build(view, photo);
  for (const svg of view.querySelectorAll(".boxes")) outline(svg, result.box, photo.modelBox);
  if (!view.querySelector(".panels")) return;
  paintHeat(view.querySelector(".fused canvas"), result.relevance);
  paint(view.querySelector(".kept canvas"), (patch) => {
    if (!result.mask[patch]) return COLORS.rest;
    return result.kept[patch] ? COLORS.boxed : COLORS.group;
  });
  cut(view.querySelector(".crop svg"), result.box);
  const say = (name, text) => {
    view.querySelector(`.${name} figcaption`).textContent = text;
  };
  say("whole", boxText(photo, result, chosen));
  say("kept", groupsText(result));
  say("crop", cropText(result));
  const isInside = patchesInside(result.box);
  view.querySelectorAll(".layer").forEach((tile, layer) => {
    const row = photo.layerRows[layer];
    const share = row.reduce((sum, value, patch) => sum + (isInside[patch] ? value : 0), 0);
    tile.classList.toggle("off", !LAYERS[layer].checked);
    tile.querySelector("small").textContent = `${percent(share)} in box`;
  });
}

/** Whether the middle of each patch lies in a box of the source image. */
function patchesInside([top, left, bottom, right]) {
  const scale = RULES.source_size / RULES.image_size;
  const middle = (number) => scale * (RULES.stride * number + RULES.patch_size / 2);
  return Array.from({ length: NUM_PATCHES }, (_, patch) => {
    const [y, x] = [middle(Math.floor(patch / RULES.cols)), middle(patch % RULES.cols)];
    return top <= y && y < bottom && left <= x && x < right;
  });
}

/** Shows the part of the photo in the box, at the photo's aspect ratio. */
function cut(svg, [top, left, bottom, right]) {
  const image = svg.querySelector("image");
  const across = image.getAttribute("width") / RULES.source_size;
  const down = image.getAttribute("height") / RULES.source_size;
  const [width, height] = [across * (right - left), down * (bottom - top)];
  svg.setAttribute("viewBox", `${across * left} ${down * top} ${width} ${height}`);
  // A view of another shape than the panel would show the photo beside the box, too.
  const sides = [top, RULES.source_size - right, RULES.source_size - bottom, left];
  const shares = sides.map((side) => `${(100 * side) / RULES.source_size}%`);
  image.style.clipPath = `inset(${shares.join(" ")})`;
}

// ------------------------------------------------------------------------------------------ words

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function boxText({ modelMask, modelBox }, { mask, box }, chosen) {
  const [top, left, bottom, right] = box;
  const area = percent(((bottom - top) * (right - left)) / RULES.source_size ** 2);
  const isSame = String(box) === String(modelBox);
  if (areModels(chosen)) {
    const agrees = isSame && mask.every((isKept, patch) => isKept === Boolean(modelMask[patch]));
    return agrees
      ? `${area} of the photo: the model's own box.`
      : "This browser finds another region than the model did: please report it.";
  }
  return `${area} of the photo. ${isSame ? "The model's own box is the same." : "Dashed: the model's own box."}`;
}

function groupsText({ mask, labels, kept }) {
  const sizes = new Map();
  labels.forEach((label, patch) => {
    if (mask[patch]) sizes.set(label, (sizes.get(label) ?? 0) + 1);
  });
  const sorted = [...sizes.values()].sort((a, b) => b - a);
  const numKept = mask.filter(Boolean).length;
  const numBoxed = kept.filter(Boolean).length;
  const groups = sorted.length === 1 ? "one group" : `${sorted.length} groups (${shortList(sorted)})`;
  return `${numKept} of ${NUM_PATCHES} patches, ${groups}; ${numBoxed} are boxed.`;
}

/** The first few numbers of a list, as text. */
function shortList(numbers) {
  return numbers.slice(0, 4).join(", ") + (numbers.length > 4 ? ", …" : "");
}

function cropText({ box: [top, left, bottom, right] }) {
  const [width, height] = [right - left, bottom - top].map((px) => percent(px / RULES.source_size));
  return `${width} of the width, ${height} of the height.`;
}

listen();
update();
