// One saved explanation, drawn: the answer's words, the picture, and where in the network the evidence arises.
// No imports; the module follows the anywidget contract. `model` holds `explanation` (the parsed JSON), `arrays`
// (the bytes of arrays.safetensors), `image` and `view` (data URIs) and `state` (what is selected).
// All text reaches the document as text nodes: nothing that a model said is ever read as markup.
// ---------------------------------------------------------------------------------------------------- store
/** A model for hosts without one: a page or an exported file. */
export function host(state, send = () => {}) {
  const heard = {};
  const fire = (event, ...values) => (heard[event] ?? []).forEach((listener) => listener(...values));
  return {
    get: (key) => state[key],
    set(key, value) {
      if (state[key] === value) return;
      state[key] = value;
      fire(`change:${key}`);
    },
    on(event, listener) { (heard[event] ??= []).push(listener); },
    off(event, listener) { heard[event] = (heard[event] ?? []).filter((other) => listener && listener !== other); },
    save_changes() {},
    send(content, _, buffers) { send(content, buffers, (reply, more = []) => fire("msg:custom", reply, more)); },
  };
}

/** What is selected and hovered. A change is drawn in the next frame, by those who draw one of the changed keys. */
export const createStore = (initial, plan = (draw) => requestAnimationFrame(draw)) => {
  const state = { ...initial };
  const drawers = [];
  let changed = new Set();
  let planned = false;
  const draw = () => {
    planned = false;
    const now = changed;
    changed = new Set();
    for (const drawer of drawers) {
      if (!drawer.keys.some((key) => now.has(key))) continue;
      drawer.late = Boolean(drawer.node?.closest(".away"));
      if (!drawer.late) drawer.paint(state);
    }
  };
  return {
    state,
    set(change) {
      for (const [key, value] of Object.entries(change)) {
        if (Object.is(state[key], value)) continue;
        state[key] = value;
        changed.add(key);
      }
      if (!changed.size || planned) return;
      planned = true;
      plan(draw);
    },
    /** `node`, where given, lies in a part of the page that need not be drawn while it is out of sight. */
    draws(keys, paint, node) { drawers.push({ keys, paint, node }); },
    /** Draws what was left out in a part that comes into sight. */
    catchUp(part) {
      for (const drawer of drawers) if (drawer.late
        && part.contains(drawer.node)) { drawer.late = false; drawer.paint(state); }
    },
    drawAll() { drawers.forEach(({ paint }) => paint(state)); },
  };
};

/** What a link keeps of the state: the letter it has there, and what is believed when it comes back. */
const LINKED = {
  word: ["w", (text, data) => whole(text, data.words.length)],
  against: ["t", (text, data) => (data.alternative(text) ? text : undefined)],
  map: ["map", (text, data) => (data.maps.some((map) => map.key === text) ? text : undefined)],
  scale: ["s", (text) => (["word", "answer"].includes(text) ? text : undefined)],
  patch: ["p", (text, data) => whole(text, data.patches)],
  depth: ["d", (text, data) => whole(text, data.layers + 1)],
  head: ["h", (text, data) => whole(text, data.layers * data.heads)],
  part: ["m", (text, data) => (data.parts.some((part) => part.key === text) ? text : undefined)],
  smooth: ["smooth", flag], colour: ["colour", flag], sinkless: ["sinks", flag],
};
const whole = (text, limit) => (/^\d+$/.test(text) && Number(text) < limit ? Number(text) : undefined);
function flag(text) { return text === "1" ? true : undefined; }

/** The selection as the fragment of a link; what is as it was at the start is left out. */
export const toHash = (state, initial) => Object.entries(LINKED)
  .filter(([key]) => state[key] !== initial[key] && state[key] !== null && state[key] !== false)
  .map(([key, [letter]]) => `${letter}=${encodeURIComponent(state[key] === true ? 1 : state[key])}`).join("&");

/** The selection that a fragment asks for; parts that are unknown or out of date are left out. */
export const fromHash = (hash, data) => {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const found = {};
  for (const [key, [letter, read]] of Object.entries(LINKED)) {
    const value = given.has(letter) ? read(given.get(letter), data) : undefined;
    if (value !== undefined) found[key] = value;
  }
  return found;
};

const SVG = "http://www.w3.org/2000/svg";
const SVG_NAMES = new Set("svg g path rect line circle text title defs linearGradient stop".split(" "));

/** An element with attributes (functions are listeners), and children that are nodes or text. */
const make = (name, attributes = {}, ...children) => {
  const node = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== false && (value ?? null) !== null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined));
  return node;
};
const isAttributes = (value) => value && Object.getPrototypeOf(value) === Object.prototype;
/** Elements by name, attributes first if there are any: h.p("text"), h.button({ class: "small", click }, "copy"). */
const h = new Proxy({}, { get: (_, name) => (first, ...rest) =>
  (isAttributes(first) ? make(name, first, ...rest) : make(name, {}, first, ...rest)) });
const put = (node, attributes) => { for (const key in attributes) node.setAttribute(key, attributes[key]); };
/** Gives a canvas its pixels. One that has them already keeps its drawing, which a new width would wipe out. */
const fit = (node, width, height) => { if (node.width !== width || node.height !== height) Object.assign(node, { width,
  height }); };
const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };

/** A signed number as people write it, with a true minus: +3.12, −0.003, 0. */
export const signed = (value) => (value > 0 ? "+" : "") + plain(value);
/** The same without a plus. */
export const plain = (value) => {
  const size = Math.abs(value);
  if (size < 5e-4) return tiny(size < 1e-9 ? 0 : value);
  return value.toFixed(size < 0.0995 ? 3 : size < 99.5 ? 2 : 1).replace("-", "−");
};
const tiny = (value) => (value ? value.toExponential(0).replaceAll("-", "−").replace("+", "") : "0");
const percent = (share) => (share > 0 && share < 0.01 ? "<\u20091" : String(Math.round(100 * share))) + "\u202f%";
const chance = (value) => (value < 0.01 ? "<.01" : value > 0.995 ? "1.0" : value.toFixed(2).replace(/^0/, ""));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** A token's text with everything visible: a leading blank, line ends, and what no font prints. */
export const visible = (text) => text.replace(/^ /, "·").replace(/\r?\n/g, "⏎").replace(/\t/g, "⇥")
  .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
    (sign) => `‹${sign.codePointAt(0).toString(16).padStart(2, "0")}›`) || "∅";

// ---------------------------------------------------------------------------------------- safetensors reader
const KINDS = { F32: [Float32Array, 4], I32: [Int32Array, 4], F16: [Uint16Array, 2] };

/** Numbers of half precision as ordinary ones. */
export const halves = (bits) => Float32Array.from(bits, (bit) => {
  const sign = bit & 0x8000 ? -1 : 1;
  const power = (bit >> 10) & 31;
  const rest = bit & 1023;
  if (power === 31) return rest ? NaN : sign * Infinity;
  return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : rest * 2 ** -24);
});

/** Every tensor of a safetensors file: its shape and its numbers. Tensors of other kinds are left out. */
export const readTensors = (bytes) => {
  const view = bytes instanceof DataView ? bytes : new DataView(bytes);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + 8, start - 8)));
  const found = {};
  for (const [name, entry] of Object.entries(header)) {
    if (!(entry.dtype in KINDS)) continue;
    const [Kind, size] = KINDS[entry.dtype];
    const [from, to] = entry.data_offsets.map((offset) => view.byteOffset + start + offset);
    const numbers = from % size ? new Kind(view.buffer.slice(from, to))
      : new Kind(view.buffer, from, (to - from) / size);
    found[name] = { shape: entry.shape, numbers: entry.dtype === "F16" ? halves(numbers) : numbers };
  }
  return found;
};

const MAPS = [
  { key: "direct", title: "direct", array: "image_patches", source: "sources",
    hint: "What reaches the word straight from a patch, through attention at the word’s own place" },
  { key: "all", title: "all paths", array: "all_paths_patches", source: "all_paths_sources",
    hint: "Everything that a patch led to, by way of other tokens too" },
  { key: "pixels", title: "to the pixels", array: "all_paths_pixels", source: "all_paths_sources",
    hint: "All paths, taken back through projector and vision encoder to the picture itself" },
];
const PARTS = [
  { key: "all", title: "contribution", array: "heads", layers: "layers", unit: "logits" },
  { key: "image", title: "from the picture", array: "heads_image", layers: null, unit: "logits" },
  { key: "chance", title: "log-probability", array: "heads_log_prob_increase",
    layers: "layers_log_prob_increase", unit: "nats" },
];

/** The explanation with its arrays, as the drawings ask for it. Sums over the tokens of a word are made once. */
export const understand = (explanation, arrays) => {
  const { answer, image, method, model } = explanation;
  const made = new Map();
  const once = (key, build) => { if (!made.has(key)) made.set(key, build()); return made.get(key); };
  const row = (name, token, size) => arrays[name].numbers.subarray(token * size, (token + 1) * size);
  const sum = (name, [first, last]) => {
    const size = arrays[name].shape.slice(1).reduce((all, next) => all * next, 1);
    if (last - first === 1) return row(name, first, size);
    const total = new Float32Array(size);
    for (let token = first; token < last; token++) row(name, token,
      size).forEach((value, at) => { total[at] += value; });
    return total;
  };
  const ofWord = (name, word) => once(`${name} ${word}`, () => sum(name, answer.words[word].tokens));
  const alternative = (text) => {
    const [token, choice] = String(text).split(".").map(Number);
    const held = arrays.alternatives_patches;
    return held && token < held.shape[0] && choice < held.shape[1]
      ? { token, choice, at: token * held.shape[1] + choice } : null;
  };
  const minus = (name, text) => once(`${name} against ${text}`, () => {
    const { token, at } = alternative(text);
    const size = arrays[name].shape[1];
    const other = row(name === "sources" ? "alternatives_sources" : "alternatives_patches", at, size);
    return row(name, token, size).map((value, here) => value - other[here]);
  });
  const maps = MAPS.filter((map) => arrays[map.array]);
  return {
    explanation, arrays, words: answer.words, tokens: answer.tokens, maps, once, ofWord, alternative, minus, method,
    rows: image.grid.rows, cols: image.grid.cols, patches: image.grid.rows * image.grid.cols,
    layers: model.layers, heads: model.heads, sinks: image.grid.sinks ?? [], registers: image.grid.registers ?? [],
    parts: PARTS.filter((part) => arrays[part.array]),
    map: (key) => maps.find((map) => map.key === key) ?? maps[0],
    others: (token) => (answer.tokens[token].top ?? []).filter((other) => other.id !== answer.tokens[token].id),
  };
};

const shownWord = (state) => state.hoverWord ?? state.word;
const shownAgainst = (state) => (shownWord(state) === state.word ? state.against : null);
const shownPatch = (state) => state.hoverPatch ?? state.patch;
const shownMap = (data, state) => (shownAgainst(state) ? data.maps[0] : data.map(state.map));

/** The value of every patch for what is shown. */
export const patchValues = (data, state) => {
  const against = shownAgainst(state);
  return against ? data.minus("image_patches", against) : data.ofWord(shownMap(data, state).array, shownWord(state));
};

/** The direct sources of what is shown. */
const sourceValues = (data, state) => {
  const against = shownAgainst(state);
  return against ? data.minus("sources", against) : data.ofWord("sources", shownWord(state));
};

// -------------------------------------------------------------------------------------------------- colours
export const FOR = [213, 94, 0];
export const AGAINST = [0, 114, 178];
const STRONGEST = 0.75; // the photograph stays visible under the strongest patch
const FAINTEST = 0.04; // below this part of the scale nothing is drawn

/** How opaque a value is on a scale that ends at ±`most`: in proportion, up to 0.75, nothing below 4 %. */
export const opacity = (value, most) => {
  const size = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
  return size < FAINTEST ? 0 : STRONGEST * size;
};
const paint = (value, most) => {
  const [red, green, blue] = value > 0 ? FOR : AGAINST;
  return `rgba(${red},${green},${blue},${opacity(value, most)})`;
};

/** The value below which the share `part` of all sizes lies. */
export const percentile = (values, part = 0.99) => {
  const sizes = Float32Array.from(values, Math.abs).sort();
  return sizes.length ? sizes[Math.min(sizes.length - 1, Math.floor(part * sizes.length))] : 0;
};

/** The fewest patches that carry half of the sum of one sign. */
export const halfOf = (values, sign) => {
  const order = [...values.keys()].filter((at) => sign * values[at] > 0).sort((a, b) => sign * (values[b] - values[a]));
  const half = order.reduce((all, at) => all + Math.abs(values[at]), 0) / 2;
  let reached = 0;
  return new Set(order.filter((at) => { const before = reached; reached += Math.abs(values[at]); return before < half; }));
};

/** The border of a set of patches as lines [column, row, column, row] between the corners of the grid. */
export const border = (chosen, rows, cols) => {
  const lines = [];
  const inside = (row, col) => row >= 0 && col >= 0 && row < rows && col < cols && chosen.has(row * cols + col);
  for (const patch of chosen) {
    const [row, col] = [Math.floor(patch / cols), patch % cols];
    if (!inside(row - 1, col)) lines.push([col, row, col + 1, row]);
    if (!inside(row + 1, col)) lines.push([col, row + 1, col + 1, row + 1]);
    if (!inside(row, col - 1)) lines.push([col, row, col, row + 1]);
    if (!inside(row, col + 1)) lines.push([col + 1, row, col + 1, row + 1]);
  }
  return lines;
};

/** What one word's map is measured by: the end of the scale, and whether anything rises above rounding. */
export const scaleOf = (data, state) => {
  const values = patchValues(data, state);
  const counted = (numbers) => (state.sinkless ? numbers.filter((_, at) => !data.sinks.includes(at)) : numbers);
  const { array } = shownMap(data, state);
  const own = () => percentile(counted(values));
  const shared = () => percentile(data.words.flatMap((_, word) => [...counted(data.ofWord(array, word))]));
  const most = state.scale === "answer" && !shownAgainst(state)
    ? data.once(`scale ${array} ${state.sinkless}`, shared) : own();
  const error = Math.max(1e-7, ...(data.explanation.checks ?? []).map((check) => Math.abs(check.value)));
  const largest = values.reduce((all, value) => Math.max(all, Math.abs(value)), 0);
  const known = sourceValues(data, state).reduce((all, value) => all + Math.abs(value), 0);
  return { values, most: most || largest, largest, nothing: largest <= error * known };
};

// -------------------------------------------------------------------------------------------------- picture
/** The rectangle, in pixels of the picture, that holds the picture and all that the model was shown of it. */
export const frameOf = ([width, height], [viewWidth, viewHeight], [a, , , d, e, f]) => {
  const [left, top] = [Math.min(0, e), Math.min(0, f)];
  return { left, top, width: Math.max(width, e + a * viewWidth) - left,
    height: Math.max(height, f + d * viewHeight) - top };
};

/** Where the patches' borders lie on the canvas: whole pixels, so that no seam shows between two patches. */
export const gridLines = (count, viewSize, step, shift, origin, scale) =>
  Array.from({ length: count + 1 }, (_, at) => Math.round(((step * at * viewSize) / count + shift - origin) * scale));

const pictureGeometry = (data, width, ratio) => {
  const { image } = data.explanation;
  const [a, , , d, e, f] = image.view.to_image;
  const frame = frameOf(image.size, image.view.size, image.view.to_image);
  const scale = (width / frame.width) * ratio;
  return {
    ratio, scale, frame, width: Math.round(frame.width * scale), height: Math.round(frame.height * scale),
    x: gridLines(data.cols, image.view.size[0], a, e, frame.left, scale),
    y: gridLines(data.rows, image.view.size[1], d, f, frame.top, scale),
    picture: [-frame.left * scale, -frame.top * scale, image.size[0] * scale, image.size[1] * scale],
  };
};

const drawPhotograph = (canvas, at, image, grey) => {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#8a8a8a";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (grey) pen.filter = "grayscale(1)";
  pen.drawImage(image, ...at.picture);
  pen.filter = "none";
  if (grey) { // luminance × 0.85 + 0.1
    pen.fillStyle = "rgba(170,170,170,.15)";
    pen.fillRect(...at.picture);
  }
  hatchUnseen(pen, at);
};

/** Hatches what lies in the picture or in the view but not in both: cut off, or padding. */
const hatchUnseen = (pen, at) => {
  const area = new Path2D();
  area.rect(...at.picture);
  area.rect(at.x[0], at.y[0], at.x.at(-1) - at.x[0], at.y.at(-1) - at.y[0]);
  pen.save();
  pen.clip(area, "evenodd");
  pen.fillStyle = "rgba(40,44,48,.62)";
  pen.fillRect(0, 0, at.width, at.height);
  pen.strokeStyle = "rgba(255,255,255,.3)";
  pen.lineWidth = at.ratio;
  pen.beginPath();
  for (let x = -at.height; x < at.width; x += 8 * at.ratio) { pen.moveTo(x, at.height); pen.lineTo(x + at.height, 0); }
  pen.stroke();
  pen.restore();
};

const drawHeat = (canvas, at, data, state) => {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (state.peek) return;
  const { values, most, nothing } = scaleOf(data, state);
  if (!nothing) {
    (state.smooth ? drawSmooth : drawSquares)(pen, at, data, values, most);
    const drawn = (sign) => new Set([...halfOf(values, sign)].filter((patch) => opacity(values[patch], most)));
    outline(pen, at, border(drawn(-1), data.rows, data.cols), [4, 3]);
    outline(pen, at, border(drawn(1), data.rows, data.cols), []);
  }
  markPatches(pen, at, data);
  if (state.says !== null) outline(pen, at, border(patchesSaying(data, state.depth, state.says), data.rows, data.cols),
    [1, 2]);
};

const drawSquares = (pen, at, data, values, most) => values.forEach((value, patch) => {
  if (!opacity(value, most)) return;
  const [row, col] = [Math.floor(patch / data.cols), patch % data.cols];
  pen.fillStyle = paint(value, most);
  pen.fillRect(at.x[col], at.y[row], at.x[col + 1] - at.x[col], at.y[row + 1] - at.y[row]);
});

const drawSmooth = (pen, at, data, values, most) => {
  const small = h.canvas({ width: data.cols, height: data.rows });
  const dots = new ImageData(data.cols, data.rows);
  values.forEach((value, patch) => dots.data.set([...(value > 0 ? FOR : AGAINST), 255 * opacity(value, most)],
    4 * patch));
  small.getContext("2d").putImageData(dots, 0, 0);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, at.x[0], at.y[0], at.x.at(-1) - at.x[0], at.y.at(-1) - at.y[0]);
};

/** A line that any photograph leaves legible: white upon black. */
const outline = (pen, at, lines, dash) => {
  const path = new Path2D();
  const [x, y] = [(col) => clamp(at.x[col], at.ratio, at.width - at.ratio),
    (row) => clamp(at.y[row], at.ratio, at.height - at.ratio)];
  for (const [x1, y1, x2, y2] of lines) { path.moveTo(x(x1), y(y1)); path.lineTo(x(x2), y(y2)); }
  pen.save();
  pen.lineCap = dash.length ? "butt" : "square";
  for (const [colour, width] of [["rgba(0,0,0,.8)", 2.6], ["#fff", 1.2]]) {
    pen.setLineDash(dash.map((part) => part * at.ratio));
    pen.strokeStyle = colour;
    pen.lineWidth = width * at.ratio;
    pen.stroke(path);
  }
  pen.restore();
};

/** Sinks get a hatched corner, registers a ring. */
const markPatches = (pen, at, data) => {
  const corner = (patch) => [at.x[patch % data.cols], at.y[Math.floor(patch / data.cols)]];
  const side = Math.min(9 * at.ratio, at.x[1] - at.x[0]);
  pen.lineWidth = at.ratio;
  pen.strokeStyle = "#fff";
  pen.fillStyle = "rgba(0,0,0,.7)";
  for (const [x, y] of data.sinks.map(corner)) {
    pen.fill(new Path2D(`M${x} ${y}h${side}l${-side} ${side}z`));
    pen.stroke(new Path2D([0.35, 0.7, 1].map((part) => `M${x + part * side} ${y}L${x} ${y + part * side}`).join("")));
  }
  for (const [x, y] of data.registers.map(corner)) {
    const ring = new Path2D();
    ring.arc(x + side * 0.55, y + side * 0.55, side * 0.32, 0, 7);
    pen.fill(ring);
    pen.stroke(ring);
  }
};

/** An invisible grid after the ARIA pattern: one tab stop, arrows inside. Pointer and keyboard call the same functions. */
const gridLayer = ({ rows, cols, name, say: label, preview, lock }) => {
  const cells = Array.from({ length: rows * cols }, (_, at) => h.div({ role: "gridcell", tabindex: at ? -1 : 0,
    "data-cell": at }));
  const marks = ["locked", "here"].map((kind) => h.div({ class: `mark ${kind}`, hidden: true, "aria-hidden": "true" }));
  const lines = Array.from({ length: rows }, (_, row) => h.div({ role: "row" }, cells.slice(row * cols,
    (row + 1) * cols)));
  const under = ({ offsetX, offsetY }) => clamp(Math.floor((offsetY / layer.clientHeight) * rows), 0, rows - 1) * cols
    + clamp(Math.floor((offsetX / layer.clientWidth) * cols), 0, cols - 1);
  const focus = (at) => {
    cells.forEach((cell) => { if (cell.tabIndex === 0) cell.tabIndex = -1; });
    put(cells[at], { tabindex: 0, "aria-label": label(at) });
    cells[at].focus({ preventScroll: true });
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -cols, ArrowDown: cols };
  const press = (event) => {
    const at = Number(event.target.dataset.cell);
    const next = event.key === "Home" ? at - (at % cols) : event.key === "End" ? at - (at % cols) + cols - 1
      : event.key in steps ? at + steps[event.key] : null;
    if (event.key === "Enter" || event.key === " ") lock(at);
    else if (next === null) return;
    else if (next >= 0 && next < rows * cols && (Math.abs(steps[event.key] ?? 0) !== 1
      || Math.floor(next / cols) === Math.floor(at / cols))) focus(next);
    event.preventDefault();
    event.stopPropagation();
  };
  const grid = h.div({ role: "grid", class: "grid", "aria-label": name, "aria-rowcount": rows,
    "aria-colcount": cols }, lines);
  const layer = h.div({
    class: "cells", pointermove: (event) => preview(under(event)), pointerleave: () => preview(null),
    click: (event) => lock(under(event)), keydown: press,
    focusin: (event) => preview(Number(event.target.dataset.cell)), focusout: () => preview(null),
  }, grid, marks);
  put(cells[0], { "aria-label": label(0) });
  grid.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${cols}, 1fr)`;
  const mark = (which, at) => {
    marks[which].hidden = at === null;
    if (at !== null) {
      Object.assign(marks[which].style, { left: `${(100 * (at % cols)) / cols}%`,
        top: `${(100 * Math.floor(at / cols)) / rows}%`,
        width: `${100 / cols}%`, height: `${100 / rows}%` });
    }
  };
  return { layer, mark };
};

const place = (data, patch) => `row ${Math.floor(patch / data.cols) + 1}, column ${(patch % data.cols) + 1}`;

const describePatch = (data, state, patch) => {
  const word = data.words[shownWord(state)].text.trim();
  const lens = lensOf(data, state.depth, patch)[0];
  const kind = data.sinks.includes(patch) ? ", a sink" : data.registers.includes(patch) ? ", a register" : "";
  return `${place(data, patch)}${kind}, ${signed(patchValues(data, state)[patch])} logits for ${word}${lens ? `, says ${lens.text.trim()}` : ""}`;
};

const LARGEST_HEIGHT = 400; // leaves room for scale and words on a screen of 720

const buildPicture = (data, store, image, tell) => {
  const canvases = [h.canvas({ "aria-hidden": "true" }), h.canvas({ class: "heat", "aria-hidden": "true" })];
  const { layer, mark } = gridLayer({
    rows: data.rows, cols: data.cols, name: "Patches of the picture", say: (at) => describePatch(data, store.state, at),
    preview: (hoverPatch) => store.set({ hoverPatch }),
    lock: (patch) => { store.set({ patch: store.state.patch === patch ? null : patch }); tell(describePatch(data,
      store.state, patch)); },
  });
  const box = h.div({ class: "picture" }, canvases, layer);
  let at = null;
  const size = () => {
    const { frame } = pictureGeometry(data, 1, 1);
    const width = Math.min(480, box.closest(".explain").clientWidth, (LARGEST_HEIGHT * frame.width) / frame.height);
    at = pictureGeometry(data, width, Math.min(3, Math.max(1, window.devicePixelRatio)));
    box.closest(".explain").style.setProperty("--look", `${width}px`);
    canvases.forEach((canvas) => fit(canvas, at.width, at.height));
    const part = (pixels, all) => `${(100 * pixels) / all}%`;
    Object.assign(layer.style, { left: part(at.x[0], at.width), top: part(at.y[0], at.height),
      width: part(at.x.at(-1) - at.x[0], at.width), height: part(at.y.at(-1) - at.y[0], at.height) });
    store.set({ pictureWidth: at.width });
  };
  store.draws(["colour", "peek", "pictureWidth"], (state) => { if (at) drawPhotograph(canvases[0], at, image,
    !state.colour && !state.peek); });
  store.draws([...HEAT_KEYS, "peek", "says", "smooth", "pictureWidth", "depth"],
    (state) => { if (at) drawHeat(canvases[1], at, data, state); });
  store.draws(["patch", "hoverPatch"], (state) => { mark(0, state.patch); mark(1, state.hoverPatch); });
  return { box, canvases, size };
};
const HEAT_KEYS = ["word", "hoverWord", "against", "map", "scale", "sinkless"];

/** How many patches have values of each size, as the outline of a histogram from −most to +most. */
export const histogram = (values, most, bins = 41) => {
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[clamp(Math.floor(((value / most + 1) / 2) * bins), 0, bins - 1)] += 1;
  return counts;
};

const buildScale = (data, store) => {
  const stops = [[0, AGAINST, STRONGEST], [0.5, AGAINST, 0], [0.5, FOR, 0],
    [1, FOR, STRONGEST]].map(([offset, colour, alpha]) =>
    h.stop({ offset, "stop-color": `rgb(${colour})`, "stop-opacity": alpha }));
  const name = `scale-${Math.random().toString(36).slice(2)}`;
  const bars = h.path({ class: "histogram" });
  const drawing = h.svg({ viewBox: "0 0 410 34", preserveAspectRatio: "none", "aria-hidden": "true" },
    h.defs(h.linearGradient({ id: name }, stops)), bars,
    h.rect({ x: 0, y: 24, width: 410, height: 10, fill: `url(#${name})` }),
    h.line({ x1: 205, x2: 205, y1: 2, y2: 34, class: "zero" }));
  const numbers = ["low", "middle", "high"].map((kind) => h.span({ class: kind }));
  store.draws(HEAT_KEYS, (state) => {
    const { values, most, nothing } = scaleOf(data, state);
    const counts = histogram(values, most || 1).map((count) => Math.sqrt(count)); // few patches matter: let them show
    const tallest = Math.max(...counts, 1);
    put(bars, { d: counts.map((count, at) => `M${at * 10 + 1} 23v${-(22 * count) / tallest}h8V23z`).join("") });
    const over = (sign) => values.reduce((all, value) => all + (sign * value > most * 1.0001), 0);
    const clipped = (number) => (number ? ` · ${number} beyond` : "");
    say(numbers[0], `−${plain(most)} against${clipped(over(-1))}`);
    say(numbers[1], nothing ? "no effect above rounding" : "0");
    say(numbers[2], `+${plain(most)} logits for${clipped(over(1))}`);
  });
  return h.div({ class: "scale", title: "Patches by value (square root) over the colour scale" }, drawing,
    h.div({ class: "numbers" }, numbers));
};

/** Radio buttons in one row. `options` are {key, title, hint}. */
const choice = (name, options, key, store, { now = (state) => state[key], off = () => false } = {}) => {
  const group = `${key}-${Math.random().toString(36).slice(2)}`;
  const inputs = options.map((option) => h.input({ type: "radio", name: group, value: option.key, change: () =>
    store.set({ [key]: option.key }) }));
  store.draws([key, "word", "hoverWord", "against"], (state) => inputs.forEach((input) => {
    input.checked = input.value === now(state);
    input.disabled = off(state, input.value);
  }));
  return h.fieldset({ class: "choice" }, h.legend(name),
    options.map((option, at) => h.label({ title: option.hint }, inputs[at], h.span(option.title))));
};

const toggle = (title, key, store, hint) => {
  const input = h.input({ type: "checkbox", change: () => store.set({ [key]: input.checked }) });
  store.draws([key], (state) => { input.checked = state[key]; });
  return h.label({ class: "toggle", title: hint }, input, h.span(title));
};

/** The share of the view that lies outside the picture. */
export const paddingOf = ({ size, view }) => {
  const [a, , , d, e, f] = view.to_image;
  const overlap = (length, start, end) => Math.max(0, Math.min(length, end) - Math.max(0, start)) / (end - start);
  return 1 - overlap(size[0], e, e + a * view.size[0]) * overlap(size[1], f, f + d * view.size[1]);
};

const buildSeen = (data, view) => {
  const { image } = data.explanation;
  const { lost, hidden = 0, size } = image.view;
  const told = [`What the model saw: ${size.join(" × ")} pixels in ${data.rows} × ${data.cols} patches.`];
  const notes = [];
  if (lost === "cropped") notes.push(["hatch",
    `Hatched: ${percent(hidden)} of the picture was cut off and never seen.`]);
  if (lost === "padded") notes.push(["hatch",
    `Hatched: padding, ${percent(paddingOf(image))} of what the model saw, is no part of the picture.`]);
  if (data.sinks.length) notes.push(["sink", `Sinks (${data.sinks.length}): they gather attention whatever is asked.`]);
  if (data.registers.length) notes.push(["register", `Registers (${data.registers.length}): unusually long vectors.`]);
  return h.div({ class: "seen" }, h.img({ src: view, alt: "The picture as the model saw it", width: 64, height: 64 }),
    h.ul(h.li(told), notes.map(([kind, text]) => h.li(h.i({ class: kind }), text))));
};
const count = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------------------------------------- words
const imagePart = (data, map, word) => {
  const names = map.source === "sources" ? data.method.sources : data.method.all_paths_sources;
  const at = names.indexOf("image");
  return at < 0 ? 0 : data.ofWord(map.source, word)[at];
};

const buildWords = (data, store, act) => {
  const cells = data.words.map((word, at) => h.button({ type: "button", role: "gridcell", tabindex: -1, "data-word": at,
    class: "word" },
    h.span(visible(word.text.trim()))));
  const list = h.div({ role: "grid", class: "words", "aria-label": "Words of the answer",
    pointerover: (event) => store.set({ hoverWord: wordAt(event) }), pointerleave: () => store.set({ hoverWord: null }),
    click: (event) => { if (wordAt(event) !== null) act.word(wordAt(event)); },
    keydown: (event) => {
      const ends = { Home: 0, End: cells.length - 1 };
      if (!(event.key in ends)) return;
      event.preventDefault();
      act.word(ends[event.key]);
    } }, h.div({ role: "row" }, cells.flatMap((cell) => [cell, " "])));
  if (data.explanation.answer.text.length > 130) list.classList.add("long");
  store.draws(["word"], (state) => cells.forEach((cell, at) => {
    put(cell, { tabindex: at === state.word ? 0 : -1, "aria-selected": at === state.word });
    if (at === state.word && list.contains(document.activeElement)) cell.focus();
  }));
  store.draws(["map"], (state) => underline(data, data.map(state.map), cells));
  return list;
};
const wordAt = ({ target }) => { const at = target.closest("[data-word]")?.dataset.word; return at ? Number(at)
  : null; };

const underline = (data, map, cells) => {
  const parts = cells.map((_, word) => imagePart(data, map, word));
  const most = Math.max(...parts.map(Math.abs), 1e-9);
  cells.forEach((cell, word) => {
    cell.style.setProperty("--part", `${(3 * Math.abs(parts[word])) / most}px`);
    cell.classList.toggle("less", parts[word] < 0);
    cell.title = `the picture’s part: ${signed(parts[word])} logits (${map.title})`;
  });
};

const buildTokens = (data, store, act) => {
  const box = h.div({ class: "tokens" });
  const other = (token, choice, { text, prob }, state) => {
    const key = `${token}.${choice}`;
    const chosen = shownAgainst(state) === key;
    return h.button({ type: "button", class: "chip", "aria-pressed": chosen, disabled: !data.alternative(key),
      "data-against": key,
      title: data.alternative(key) ? "Show what speaks for the word rather than this" : "Not stored for this one",
      click: () => act.against(chosen ? null : key) }, visible(text), h.small(chance(prob)));
  };
  const line = (token, state) => {
    const { text, prob, rank } = data.tokens[token];
    return h.div({ class: "token" }, h.b(visible(text)),
      h.span(`${percent(prob)} likely, ${rank ? `rank ${rank + 1}` : "first choice"}`),
      h.span({ class: "rather" }, "rather than", data.others(token).slice(0, 4).map((each, at) => other(token, at, each,
        state))));
  };
  store.draws(["word", "hoverWord", "against"], (state) => {
    const [first, last] = data.words[shownWord(state)].tokens;
    box.replaceChildren(...Array.from({ length: last - first }, (_, at) => line(first + at, state)));
  });
  return box;
};

/** What is explained, in words: "taxi", or "taxi rather than cab". */
export const targetName = (data, state) => {
  const against = shownAgainst(state);
  if (!against) return data.words[shownWord(state)].text.trim();
  const { token, choice } = data.alternative(against);
  return `${visible(data.tokens[token].text).replace(/^·/, "")} rather than ${visible(data.others(token)[choice].text).replace(/^·/, "")}`;
};

const buildTarget = (data, store, act) => {
  const [name, value] = [h.b(), h.span()];
  store.draws(["word", "hoverWord", "against"], (state) => {
    say(name, targetName(data, state));
    say(value, `word ${shownWord(state) + 1} of ${data.words.length} · ${signed(total(sourceValues(data, state)))} logits`);
  });
  return h.div({ class: "target" }, h.button({ type: "button", "aria-label": "Word before", click: () => act.step(-1) },
    "‹"),
    h.button({ type: "button", "aria-label": "Word after", click: () => act.step(1) }, "›"), h.p(name, value));
};
const total = (values) => values.reduce((all, value) => all + value, 0);

const buildDependence = (data) => {
  const { dependence } = data.explanation;
  if (!dependence || dependence.verdict === "not tested") return h.p({ class: "dependence quiet" },
    "Whether the answer depends on the picture was not tested.");
  const { full, blurred, blank } = dependence.log_prob ?? {};
  const focus = data.words[data.explanation.answer.focus ?? 0].text.trim();
  const numbers = full === undefined ? ""
    : ` Log-probability of “${focus}”: ${plain(full)} with the picture, ${plain(blurred)} blurred, ${plain(blank)} blank.`;
  const said = dependence.answer_blurred
    ? ` With the picture blurred the model says “${dependence.answer_blurred.trim()}”.` : "";
  const blind = dependence.verdict === "no visual dependence";
  return h.p({ class: `dependence ${blind ? "blind" : "sees"}`, title: `Rule: ${dependence.rule}` },
    h.strong(blind ? "No visual dependence." : "Depends on the picture."), numbers, blind ? said : "",
    blind ? " The maps say how the parts add up, not that the answer needs the picture." : "", blind
      ? h.small(` Rule: ${dependence.rule}.`) : null, blind ? null
      : h.small(" The thicker a word’s line, the more the picture gives it; dotted, it speaks against it."));
};

// ---------------------------------------------------------------------------------------------- source bars
/** Signed parts laid end to end from zero, the picture's first: [{name, value, from, to}]. */
export const stack = (names, values) => {
  const order = [...names.keys()].sort((a, b) => (names[b] === "image") - (names[a] === "image"));
  const ends = { 1: 0, "-1": 0 };
  return order.map((at) => {
    const side = values[at] < 0 ? -1 : 1;
    const from = ends[side];
    ends[side] += values[at];
    return { name: names[at], value: values[at], from, to: ends[side] };
  });
};

const told = (source) => (source === "image" ? "picture" : source);

const buildSources = (data, store) => {
  const direct = data.method.sources;
  const all = data.arrays.all_paths_sources ? data.method.all_paths_sources : [];
  const names = ["image", ...new Set([...direct, ...all].filter((name) => name !== "image"))];
  const [story, bars] = [h.p({ class: "finding" }), h.div({ class: "bars" })];
  const rows = [["direct", direct], ["all paths", all]].filter(([, own]) => own.length).map(([title, own]) =>
    sourceRow(title, own, names));
  bars.append(...rows.map((row) => row.bar));
  const table = h.table({ class: "parts" }, h.thead(h.tr(h.th({ scope: "col" }, "logits"),
    names.map((name) => h.th({ scope: "col" }, told(name))), h.th({ scope: "col", class: "sum" }, "= sum"))),
  h.tbody(rows.map((row) => row.numbers)));
  const note = h.p({ class: "note" });
  const keys = ["word", "hoverWord", "against"];
  store.draws(keys, (state) => {
    const values = [sourceValues(data, state), shownAgainst(state) || !all.length ? null
      : data.ofWord("all_paths_sources", shownWord(state))];
    const ends = rows.flatMap((row, at) => (values[at] ? row.parts(values[at]).flatMap((part) => [part.from, part.to])
      : []));
    const reach = [Math.min(0, ...ends), Math.max(1e-9, ...ends)];
    rows.forEach((row, at) => row.draw(values[at], reach));
    say(story, sourceStory(data, state, values));
    say(note, errorNote(data, values));
  });
  const rowsOf = () => rows.map((row) => [row.title, ...names.map((name) => row.value(name) ?? ""), row.sum()]);
  return section("Where the evidence comes from", "sources", [story, bars, h.div({ class: "wide" }, table), note],
    { csv: () => [["paths", ...names, "sum"], ...rowsOf()] });
};

const sourceRow = (title, own, names) => {
  const segments = own.map(() => h.rect({ y: 0, height: 26 }));
  const labels = own.map(() => h.text({ y: 17 }));
  const [zero, end] = [h.line({ y1: -3, y2: 29, class: "zero" }), h.line({ y1: -3, y2: 29, class: "end" })];
  const missing = h.span({ class: "missing" });
  const cells = names.map(() => h.td());
  const sumCell = h.td({ class: "sum" });
  let held = null;
  const parts = (values) => stack(own, [...values]);
  const draw = (values, [low, high]) => {
    held = values;
    const at = (value) => (100 * (value - low)) / (high - low);
    say(missing, values ? "" : "not stored for a difference of two words");
    (values ? parts(values) : []).forEach((part, index) => {
      const [left, right] = [at(Math.min(part.from, part.to)), at(Math.max(part.from, part.to))];
      const kind = part.name === "image" ? (part.value < 0 ? "against" : "for") : `grey${(index - 1) % 3}`;
      put(segments[index], { x: `${left}%`, width: `${right - left}%`, class: kind });
      segments[index].replaceChildren(h.title(`${told(part.name)} ${signed(part.value)}`));
      put(labels[index], { x: `${left + 0.8}%`, class: kind });
      say(labels[index], (right - left) * 0.82 > told(part.name).length * 1.25 ? told(part.name) : "");
    });
    [...segments, ...labels, end].forEach((node) => node.classList.toggle("gone", !values));
    put(zero, { x1: `${at(0)}%`, x2: `${at(0)}%` });
    if (values) put(end, { x1: `${at(total(values))}%`, x2: `${at(total(values))}%` });
    names.forEach((name, index) => {
      const value = values && own.includes(name) ? values[own.indexOf(name)] : null;
      say(cells[index], value === null ? "–" : signed(value));
      cells[index].className = name === "image" && value ? (value < 0 ? "against" : "for") : "";
    });
    say(sumCell, values ? signed(total(values)) : "–");
  };
  return {
    title, parts, draw, value: (name) => (held && own.includes(name) ? held[own.indexOf(name)] : null),
      sum: () => (held ? total(held) : ""),
    bar: h.div({ class: "bar-row" }, h.span(title), h.svg({ height: 26, role: "img",
      "aria-label": `${title}: the numbers are in the table below` },
      segments, labels, zero, end), missing),
    numbers: h.tr(h.th({ scope: "row" }, title), cells, sumCell),
  };
};

const sourceStory = (data, state, [direct, all]) => {
  const word = targetName(data, state);
  const near = direct[data.method.sources.indexOf("image")];
  if (!all) return `The picture speaks ${near < 0 ? "against" : "for"} “${word}” with ${signed(near)} logits directly.`;
  const far = all[data.method.all_paths_sources.indexOf("image")];
  const amount = `“${word}” gets ${signed(near)} logits from the picture directly, ${signed(far)} along all paths`;
  if (Math.abs(far) > 1.5 * Math.abs(near)) return `${amount}: most of what the picture gives travels through other tokens.`;
  return `${amount}: ${Math.sign(far) === Math.sign(near) ? "little is added on the way through other tokens." : "on the way through other tokens the sign turns."}`;
};

const errorNote = (data, [direct]) => {
  const { target, unit, frozen_norm: frozen } = data.method;
  const kind = { token: "the word’s logit", centred: "the word’s logit minus the mean of all words",
    difference: `the difference to “${target.against_text ?? target.against}”` }[target.kind];
  const errors = (data.explanation.checks ?? []).filter(({ name }) => /sum/.test(name)).map(({ value }) => tiny(value));
  return `Explained is ${kind}, ${signed(total(direct))} ${unit === "logit" ? "logits" : "nats"}.`
    + (errors.length ? ` The parts add up to it with a relative error of ${errors.join(" and ")}.` : "")
    + (frozen ? " The last norm’s factor is held fixed." : "");
};

/** A part of the page: a heading, its drawings, and the same numbers as a table and as CSV. */
const section = (title, name, body, { csv, tools = [] } = {}) => {
  const table = h.div({ class: "numbers-table wide", hidden: true, tabindex: 0 });
  const show = h.button({ type: "button", class: "small", "aria-expanded": "false", click: () => {
    table.hidden = !table.hidden;
    show.setAttribute("aria-expanded", String(!table.hidden));
    if (!table.hidden) table.replaceChildren(asTable(csv()));
  } }, "table");
  const save = h.button({ type: "button", class: "small download",
    click: () => download(`${name}.csv`, asCsv(csv()), "text/csv") }, "CSV");
  return h.section({ class: `part ${name}` }, h.header(h.h2(title), h.div({ class: "tools" }, tools, csv ? [show, save]
    : [])), body, csv ? table : null);
};

const asTable = ([head, ...rows]) => h.table(h.thead(h.tr(head.map((cell) => h.th({ scope: "col" }, cell)))),
  h.tbody(rows.map((row) => h.tr(row.map((cell) => h.td(typeof cell === "number" && !Number.isInteger(cell)
    ? plain(cell) : String(cell)))))));

/** Rows as CSV. What a spreadsheet would run as a formula is disarmed. */
export const asCsv = (rows) => rows.map((row) => row.map((cell) => {
  const text = typeof cell === "number" ? String(cell) : String(cell).replace(/^([=+\-@\t\r])/, "'$1");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\r\n");

// --------------------------------------------------------------------------------------------------- matrix
const headName = (data, head) => `layer ${Math.floor(head / data.heads)}, head ${head % data.heads}`;
const shownPart = (data, state) => data.parts.find((part) => part.key === state.part) ?? data.parts[0];

/** Where layers and heads lie: matrix and profile share one x axis. */
const networkGeometry = (data, width) => {
  const [left, right] = [30, 62];
  const cell = clamp((width - left - right) / data.layers, 4, 44);
  return { left, right, cell, height: clamp(Math.round(300 / data.heads), 6, 30), x: (layer) => left + layer * cell };
};

const buildNetwork = (data, store, tell) => {
  const canvas = h.canvas({ "aria-hidden": "true" });
  const values = (state) => data.ofWord(shownPart(data, state).array, shownWord(state));
  const headAt = (cell) => (cell % data.layers) * data.heads + Math.floor(cell / data.layers);
  const cellOf = (head) => (head === null ? null : (head % data.heads) * data.layers + Math.floor(head / data.heads));
  const describe = (head, state) =>
    `${headName(data, head)}: ${signed(values(state)[head])} ${shownPart(data, state).unit}`
    + (data.arrays.heads_image
      ? `, of this from the picture ${signed(data.ofWord("heads_image", shownWord(state))[head])}` : "");
  const { layer, mark } = gridLayer({ rows: data.heads, cols: data.layers, name: "Heads, by layer",
    say: (cell) => describe(headAt(cell), store.state),
    preview: (cell) => store.set({ hoverHead: cell === null ? null : headAt(cell) }),
    lock: (cell) => { const head = headAt(cell); store.set({ head: store.state.head === head ? null
      : head }); tell(describe(head, store.state)); } });
  const profile = buildProfile(data, store);
  const yNames = h.div({ class: "y-names", "aria-hidden": "true" }, "head");
  const matrix = h.div({ class: "matrix" }, yNames, h.div({ class: "cells-box" }, canvas, layer));
  const [readout, list, most] = [h.p({ class: "readout" }), h.ol({ class: "ranked" }), h.p({ class: "note" })];
  const chart = h.div({ class: "chart" }, profile.drawing, matrix, most);
  let at = null;
  const size = () => {
    at = networkGeometry(data, chart.clientWidth);
    profile.size(at);
    const [width, height] = [at.cell * data.layers, at.height * data.heads];
    const ratio = Math.max(1, window.devicePixelRatio);
    fit(canvas, Math.round(width * ratio), Math.round(height * ratio));
    Object.assign(matrix.lastChild.style, { left: `${at.left}px`, width: `${width}px`, height: `${height}px` });
    matrix.style.height = `${height}px`;
    store.set({ networkWidth: canvas.width, evidenceWidth: chart.closest(".evidence").clientWidth });
  };
  const keys = ["word", "hoverWord", "part", "networkWidth"];
  store.draws(keys, (state) => {
    if (!at) return;
    const now = values(state);
    const end = percentile(now, 0.995) || 1e-9;
    drawMatrix(canvas, now, end, data);
    profile.draw(state, at);
    say(most, `Strongest colour: ±${plain(end)} ${shownPart(data, state).unit}.` + (shownPart(data,
      state).key === "chance" ? " These gains do not add up to anything."
      : " Heads of a layer add up to its attention."));
  }, chart);
  store.draws([...keys, "head", "hoverHead"], (state) => {
    mark(0, cellOf(state.head));
    mark(1, cellOf(state.hoverHead));
    const head = state.hoverHead ?? state.head;
    say(readout, head === null ? "Point at a head, or choose one from the list." : describe(head, state));
  }, chart);
  const rows = Array.from({ length: Math.min(9, data.layers * data.heads) }, () => rankedRow(store));
  list.append(...rows.map((row) => row.node));
  store.draws([...keys, "head"], (state) => {
    const now = values(state);
    const best = [...now.keys()].sort((a, b) => Math.abs(now[b]) - Math.abs(now[a]));
    rows.forEach((row, rank) => row.draw(best[rank], now[best[rank]], Math.abs(now[best[0]]) || 1, data, state));
  }, chart);
  const csv = () => [["layer", "head", ...data.parts.map((part) => part.title)],
    ...Array.from({ length: data.layers * data.heads }, (_, head) =>
    [Math.floor(head / data.heads), head % data.heads, ...data.parts.map((part) => data.ofWord(part.array,
      shownWord(store.state))[head])])];
  const tools = [choice("Show", data.parts, "part", store)];
  return { node: section("Where in the network", "network",
    [h.div({ class: "network-box" }, chart, h.div(h.h3("Strongest heads"), list)), readout], { csv, tools }), size };
};

const drawMatrix = (canvas, values, end, data) => {
  const pen = canvas.getContext("2d");
  const [wide, high] = [canvas.width / data.layers, canvas.height / data.heads];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  values.forEach((value, head) => {
    if (!opacity(value, end)) return;
    pen.fillStyle = paint(value, end * STRONGEST); // no photograph below: the full colour may be used
    const [layer, row] = [Math.floor(head / data.heads), head % data.heads];
    const [x, y] = [Math.round(layer * wide), Math.round(row * high)];
    pen.fillRect(x, y, Math.round((layer + 1) * wide) - x - 1, Math.round((row + 1) * high) - y - 1);
  });
};

const rankedRow = (store) => {
  const [name, bar, number, part] = [h.span(), h.i(), h.b(), h.small()];
  let own = 0;
  const button = h.button({ type: "button", click: () => store.set({ head: store.state.head === own ? null : own }),
    pointerenter: () => store.set({ hoverHead: own }), pointerleave: () => store.set({ hoverHead: null }) }, name,
      h.span({ class: "track" }, bar), number, part);
  const draw = (head, value, most, data, state) => {
    own = head;
    say(name, `L${Math.floor(head / data.heads)} H${head % data.heads}`);
    say(number, signed(value));
    say(part, data.arrays.heads_image ? `picture ${signed(data.ofWord("heads_image", shownWord(state))[head])}` : "");
    bar.className = value < 0 ? "against" : "for";
    bar.style.width = `${(100 * Math.abs(value)) / most}%`;
    put(button, { "aria-pressed": state.head === head });
  };
  return { node: h.li(button), draw };
};

// -------------------------------------------------------------------------------------------------- profile
const svgText = (x, y, words, kind, anchor = "start") => h.text({ x, y, class: kind, "text-anchor": anchor }, words);
const lineThrough = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Labels at the ends of lines, pushed apart until none touches another: their heights in the order given. */
export const apart = (heights, least) => {
  const order = [...heights.keys()].sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((at, rank) => { if (rank) placed[at] = Math.max(placed[at], placed[order[rank - 1]] + least); });
  return placed;
};

/** Where values and zero end, below and above; an end that is nearly zero beside the other is zero. */
export const reachOf = (values) => [Math.min(0, ...values), Math.max(0, ...values)]
  .map((value, _, [low, high]) => (Math.abs(value) < 0.01 * (high - low) ? 0 : value));

/** Attention, MLP and their sum by layer, above the matrix on its x axis. */
const buildProfile = (data, store) => {
  const drawing = h.svg({ class: "profile", height: 112, role: "img",
    "aria-label": "Contribution by layer; the numbers are in the table" });
  const series = (state) => {
    const part = shownPart(data, state);
    const word = shownWord(state);
    const sums = Array.from({ length: data.layers }, (_, layer) => total(data.ofWord(part.array,
      word).subarray(layer * data.heads, (layer + 1) * data.heads)));
    const both = part.layers && data.arrays[part.layers] ? data.ofWord(part.layers, word) : null;
    return both ? [[...both.subarray(0, data.layers)], [...both.subarray(data.layers)]] : [sums];
  };
  const bars = ["for", "against"].map((kind) => h.path({ class: kind }));
  const zero = h.line({ class: "zero" });
  const lines = ["attention", "MLP"].map((name) => h.path({ class: `line ${name}` }));
  const names = ["attention", "MLP"].map((name) => svgText(0, 0, name, name));
  const ends = [0, 1].map(() => svgText(0, 0, "", "tick", "end"));
  const ticks = h.g();
  drawing.append(...bars, zero, ...lines, ...names, ...ends, ticks);
  const size = ({ x, cell, left }) => {
    const every = Math.ceil(data.layers / Math.max(2, (x(data.layers) - left) / 44));
    const shown = Array.from({ length: data.layers }, (_, layer) => layer).filter((layer) => layer % every === 0);
    ticks.replaceChildren(...shown.map((layer) => svgText(x(layer) + cell / 2, 110, layer, "tick", "middle")),
      svgText(x(data.layers) + 6, 110, "layer", "tick"));
  };
  const draw = (state, { x, cell, left }) => {
    const now = series(state);
    const sum = now[0].map((value, layer) => value + (now[1]?.[layer] ?? 0));
    const [low, high] = reachOf([...now.flat(), ...sum]);
    const y = (value) => 10 + (82 * (high - value)) / (high - low || 1);
    const bar = (value, layer) => `M${x(layer) + 1} ${y(0)}V${y(value)}h${Math.max(1, cell - 2)}V${y(0)}z`;
    bars.forEach((node, side) => put(node,
      { d: sum.map((value, layer) => ((value < 0) === (side === 1) ? bar(value, layer) : "")).join("") }));
    const heights = apart(now.map((line) => y(line.at(-1)) + 4), 13);
    put(zero, { x1: left, x2: x(data.layers), y1: y(0), y2: y(0) });
    lines.forEach((node, at) => put(node,
      { d: lineThrough((now[at] ?? []).map((value, layer) => [x(layer) + cell / 2, y(value)])) }));
    names.forEach((node, at) => put(node, { x: x(data.layers) + 6, y: now[at] ? clamp(heights[at], 12, 108) : -99 }));
    [low, high].forEach((value, at) => { put(ends[at], { x: left - 5, y: y(value) + 4 }); say(ends[at], value
      ? plain(value) : ""); });
  };
  return { drawing, draw, size };
};

// ---------------------------------------------------------------------------------------------- patch words
/** The likeliest words of a patch at one depth: [{id, text, prob}], or none where they were not stored. */
export const lensOf = (data, depth, patch) => {
  const { lens_ids: ids, lens_probs: probs } = data.arrays;
  if (!ids || patch === null) return [];
  const kept = ids.shape[2];
  const start = (depth * data.patches + patch) * kept;
  return Array.from({ length: kept }, (_, at) => {
    const id = ids.numbers[start + at];
    return { id, text: data.explanation.vocabulary?.[id] ?? `#${id}`, prob: probs.numbers[start + at] };
  });
};

const patchesSaying = (data, depth, id) => new Set(Array.from({ length: data.patches }, (_, patch) =>
  patch).filter((patch) => lensOf(data, depth, patch)[0].id === id));

/** The words that most patches say first at one depth, with at least 5 %: [[id, text, patches]]. */
const commonWords = (data, depth) => data.once(`common ${depth}`, () => {
  const found = new Map();
  for (let patch = 0; patch < data.patches; patch++) {
    const [{ id, text, prob }] = lensOf(data, depth, patch);
    if (prob >= 0.05) found.set(id, [id, text, (found.get(id)?.[2] ?? 0) + 1]);
  }
  return [...found.values()].sort((a, b) => b[2] - a[2]).slice(0, 12);
});

const lensWord = ({ text, prob }) => h.span({ class: prob < 0.05 ? "faint" : "sure" }, visible(text),
  h.small(chance(prob)));

const buildReadout = (data, store) => {
  const [what, words] = [h.p(), h.p({ class: "says" })];
  store.draws(["patch", "hoverPatch", "depth", "map", "word", "hoverWord", "against"], (state) => {
    const patch = shownPatch(state);
    if (patch === null) what.replaceChildren("Point at a patch; click to keep it.");
    else what.replaceChildren(h.b(signed(patchValues(data, state)[patch])), ` logits · ${place(data, patch)}`,
      data.sinks.includes(patch) ? " · sink" : "", data.registers.includes(patch) ? " · register" : "");
    words.replaceChildren(...lensOf(data, state.depth, patch).map(lensWord));
  });
  return h.div({ class: "patch-readout" }, what, data.arrays.lens_ids ? [words, depthSlider(data, store)] : null);
};

const depthSlider = (data, store) => {
  const slider = h.input({ type: "range", min: 0, max: data.layers, step: 1,
    input: () => store.set({ depth: Number(slider.value) }) });
  const number = h.output();
  store.draws(["depth"], (state) => { slider.value = state.depth; say(number, state.depth
    ? `after layer ${state.depth - 1}` : "as it enters"); });
  return h.label({ class: "depth" }, h.span("depth"), slider, number);
};

const buildLens = (data, store) => {
  if (!data.arrays.lens_ids) return null;
  const [common, body, head] = [h.p({ class: "common" }), h.tbody(), h.p({ class: "note" })];
  const table = h.div({ class: "wide lens", tabindex: 0, hidden: true }, h.table(body));
  store.draws(["depth", "patch"], (state) => {
    const named = commonWords(data, state.depth).map(([id, text, patches]) => h.button({ type: "button", class: "chip",
      pointerenter: () => store.set({ says: id }), pointerleave: () => store.set({ says: null }),
        focus: () => store.set({ says: id }), blur: () => store.set({ says: null }) },
    visible(text), h.small(patches)));
    common.replaceChildren(...(named.length ? named : ["At this depth no patch gives a word 5 %."]));
    say(head, state.patch === null ? "Keep a patch by a click on the picture to see its words at every depth."
      : `The kept patch, ${place(data, state.patch)}, at every depth:`);
    table.hidden = state.patch === null;
    if (state.patch !== null) body.replaceChildren(...Array.from({ length: data.layers + 1 },
      (_, depth) => lensRow(data, store, state, depth)));
  }, table);
  const csv = () => [["depth", "patch", "rank", "word", "probability"],
    ...(store.state.patch === null ? [] : Array.from({ length: data.layers + 1 }, (_, depth) =>
    lensOf(data, depth, store.state.patch).map(({ text, prob }, rank) =>
      [depth, store.state.patch, rank, text, prob])).flat())];
  return section("What the patches say", "patch-words", [h.p({ class: "note" },
    "The hidden state of a patch projected on the vocabulary, not what the model says. The words most patches share at this depth:"), common, head, table], { csv });
};

const lensRow = (data, store, state, depth) => h.tr({ class: depth === state.depth ? "now" : null, click: () =>
  store.set({ depth }) },
  h.th({ scope: "row" }, depth ? `layer ${depth - 1}` : "enters"),
    lensOf(data, depth, state.patch).map((word) => h.td(lensWord(word))));

// --------------------------------------------------------------------------------------------------- routes
/** The shares of parts of one sign; nothing where signs are mixed, because a share could then pass 100 %. */
export const shares = (values) => {
  const most = Math.max(...values.map(Math.abs));
  const counted = values.map((value) => (Math.abs(value) < 0.01 * most ? 0 : value));
  const sum = total(counted);
  return sum !== 0 && counted.every((value) => value * sum >= 0) ? counted.map((value) => value / sum) : null;
};
const WAYS = { "image → last": "straight to the word", "image → question": "by way of the question",
  "image → template": "by way of the template" };

const buildRoutes = (data, store) => {
  const { routes } = data.explanation;
  if (!routes || !data.arrays.routes) return null;
  const { windows } = routes;
  const names = routes.names.map((name) => name.replace(/\s*->\s*/, " → "));
  const [finding, list] = [h.p({ class: "finding" }), h.ul({ class: "cuts" })];
  const drawing = h.svg({ class: "routes-chart", height: 210, role: "img",
    "aria-label": "Change of log-probability by the layers in which a route is cut; the numbers are in the table" });
  const curve = (state, route) => data.ofWord("routes", shownWord(state)).subarray(route * windows.length,
    (route + 1) * windows.length);
  const whole = (state) => (data.arrays.routes_whole ? [...data.ofWord("routes_whole", shownWord(state))] : []);
  store.draws(["word", "hoverWord", "evidenceWidth"], (state) => {
    drawRoutes(drawing, state.evidenceWidth, names.map((name, route) => [name, [...curve(state, route)]]), windows);
    const cut = whole(state);
    const ways = names.map((name, route) => [WAYS[name], cut[route]]).filter(([way, value]) => way
      && value !== undefined);
    const parts = shares(ways.map(([, value]) => value));
    say(finding, parts && ways.length > 1
      ? `Cut everywhere, the routes of the picture cost ${ways.map(([way], at) => `${percent(parts[at])} ${way}`).join(", ")}.`
      : "Cut everywhere, the routes change the word’s log-probability with mixed signs; no shares are given.");
    const most = Math.max(...cut.map(Math.abs), 1e-9);
    list.replaceChildren(...cut.map((value, at) => cutRow(names[at] ?? "image → all text", value, most)));
  }, list);
  const csv = () => [["route", ...windows.map(([first, last]) => `layers ${first} to ${last - 1}`), "everywhere"],
    ...names.map((name, route) => [name, ...curve(store.state, route), whole(store.state)[route] ?? ""])];
  return section("How it travels", "routes", [finding, drawing, h.p({ class: "note" },
    `Change of the word’s log-probability when attention along a route is cut in ${routes.window} layers, by the first of them. Below zero: the route carried evidence for the word.`),
    list], { csv });
};

const cutRow = (name, value, most) => {
  const bar = h.i({ class: value < 0 ? "cost" : "gain" });
  bar.style.width = `${(100 * Math.abs(value)) / most}%`;
  return h.li(h.span(name), h.span({ class: "track" }, bar), h.b(signed(value)));
};

const drawRoutes = (drawing, width, curves, windows) => {
  const [left, right, top, bottom] = [42, 128, 10, 182];
  const [low, high] = reachOf(curves.flatMap(([, values]) => values));
  const last = Math.max(...windows.map(([first]) => first), 1);
  const x = (layer) => left + ((width - left - right) * layer) / last;
  const y = (value) => top + ((bottom - top) * (high - value)) / (high - low || 1);
  const heights = apart(curves.map(([, values]) => y(values.at(-1)) + 4), 15);
  const over = Math.max(0, Math.max(...heights) - bottom - 6);
  drawing.replaceChildren(h.line({ x1: left, x2: width - right, y1: y(0), y2: y(0), class: "zero" }),
    ...[low, 0, high].filter((value, at, all) => all.indexOf(value) === at).map((value) =>
      svgText(left - 6, y(value) + 4, plain(value), "tick", "end")),
    ...windows.filter((_, at) => at % Math.ceil(windows.length / 8) === 0).map(([first]) =>
      svgText(x(first), 204, first, "tick", "middle")), svgText(width - right + 20, 204, "first layer cut", "tick"),
    ...curves.flatMap(([name, values], route) => [h.path({ class: `line route${route % 4}`,
      d: lineThrough(values.map((value, at) => [x(windows[at][0]), y(value)])) }),
      svgText(width - right + 8, heights[route] - over, name, `route${route % 4}`)]));
};

// -------------------------------------------------------------------------------------------------- receipt
const VERDICTS = { confirmed: ["✓", "Confirmed"], weaker: ["◐", "Weaker than predicted"],
  "not-confirmed": ["✕", "Not confirmed"],
  opposite: ["⇄", "Opposite"], "not-tested": ["○", "Not tested"] };
const DONE = { mean: "replaced by the mean patch", zero: "set to zero", blank: "made blank",
  "other-image": "taken from another picture",
  resample: "resampled", blur: "blurred", "read-knockout": "hidden from the reader" };

/** The verdict to print: without controls nothing was tested, whatever the receipt says. */
export const verdictOf = (receipt) => (receipt.controls.changes.length ? receipt.verdict : "not-tested");

const receiptChart = ({ predicted, measured, controls }) => {
  const rows = [["measured", [measured.change]], ["random controls", controls.changes]];
  if (predicted !== null) rows.unshift(["predicted", [predicted]]);
  if (controls.contiguous?.length) rows.push(["controls in one piece", controls.contiguous]);
  const [low, high] = reachOf(rows.flatMap(([, values]) => values));
  const x = (value) => 148 + (360 * (value - low)) / (high - low || 1);
  const marks = (name, values, y) => values.map((value) => (name === "predicted" ? h.path({ class: "hollow",
    d: `M${x(value)} ${y - 6}l6 6-6 6-6-6z` })
    : name === "measured" ? h.circle({ cx: x(value), cy: y, r: 5.5, class: "dot" })
      : h.line({ x1: x(value), x2: x(value), y1: y - 7, y2: y + 7, class: "control" })));
  const spread = (values) => (values.length > 1
    ? `${signed(total(values) / values.length)} ± ${plain(Math.sqrt(total(values.map((v) => (v - total(values) / values.length) ** 2)) / (values.length - 1)))}` : signed(values[0] ?? 0));
  return h.svg({ viewBox: `0 0 620 ${rows.length * 27 + 26}`, role: "img",
    "aria-label": rows.map(([name, values]) => `${name} ${spread(values)}`).join(", ") },
    h.line({ x1: x(0), x2: x(0), y1: 4, y2: rows.length * 27 + 6, class: "zero" }),
      svgText(x(0), rows.length * 27 + 20, "0", "tick", "middle"),
    [low, high].filter((value) => value && Math.abs(x(value) - x(0)) > 40).map((value) => svgText(x(value),
      rows.length * 27 + 20, plain(value), "tick", "middle")),
    rows.flatMap(([name, values], at) => [svgText(0, at * 27 + 21, name, "name"), ...marks(name, values, at * 27 + 16),
      svgText(620, at * 27 + 21, values.length ? spread(values) : "none", "number", "end")]));
};

const receiptCard = (data, receipt, tell) => {
  const verdict = verdictOf(receipt);
  const [icon, words] = VERDICTS[verdict];
  const { patches, heads, kind } = receipt.done;
  const things = [patches && `${count(patches.length, "patch").replace("patchs", "patches")} of ${data.patches}`, heads
    && count(heads.length, "head")].filter(Boolean).join(", ");
  const { answer_before: before, answer_after: after } = receipt.measured;
  const command = receipt.command?.map((part) => (/^[\w./:=,@+-]+$/.test(part) ? part
    : `'${part.replaceAll("'", "'\\''")}'`)).join(" ");
  return h.article({ class: `receipt ${verdict}`, "data-receipt": receipt.id, "data-verdict": verdict },
    h.header(h.span({ class: "verdict" }, h.i({ "aria-hidden": "true" }, icon), words),
      h.span({ class: "about" },
      `“${data.words[receipt.word]?.text.trim() ?? "?"}” · ${receipt.map ?? "direct"} · ${receipt.id}`)),
    h.p(receipt.claim ? `${receipt.claim.replace(/\.$/, "")}. ` : "",
      `${things} ${DONE[kind] ?? kind}: change of the logit`), receiptChart(receipt),
    h.p({ class: "answers" }, before === after ? `The answer stays “${after}”.`
      : ["Answer: ", h.s(before), " → ", h.b(after)]),
    h.p({ class: "note" }, [receipt.seconds && `${plain(receipt.seconds)} s`,
      receipt.seed !== undefined && `seed ${receipt.seed}`].filter(Boolean).join(" · ")), command
        ? copyLine(command, tell) : null);
};

const copyLine = (command, tell) => h.div({ class: "command" }, h.code(command), h.button({ type: "button",
  class: "small", click: () => copy(command, tell) }, "copy"));

const buildReceipts = (data, store, tell) => {
  const receipts = data.explanation.receipts ?? [];
  const cards = receipts.map((receipt) => receiptCard(data, receipt, tell));
  const others = [...new Set(receipts.map((receipt) => receipt.word))];
  const [none, rule] = [h.p({ class: "untested" }), h.p({ class: "note" })];
  store.draws(["word"], (state) => {
    const tested = receipts.some((receipt) => receipt.word === state.word);
    cards.forEach((card, at) => card.classList.toggle("other", receipts[at].word !== state.word));
    none.hidden = tested;
    const rules = receipts.filter((receipt) => receipt.word === state.word).map((receipt) => `Rule: ${receipt.rule}.`);
    say(rule, [...new Set(rules)].join(" "));
    say(none, `○ Not tested for “${data.words[state.word].text.trim()}”: nothing was removed to see whether this map `
      + `is right.${others.length ? ` Tested: ${others.map((word) => `“${data.words[word].text.trim()}”`).join(", ")}.` : ""}`);
  }, none);
  return section("Tested by removal", "receipts", [none, cards, rule],
    { csv: receipts.length ? () => [["receipt", "word", "kind", "predicted", "measured", "verdict"],
    ...receipts.map((each) => [each.id, data.words[each.word]?.text ?? "", each.done.kind, each.predicted ?? "",
      each.measured.change, verdictOf(each)])] : null });
};

// ----------------------------------------------------------------------------------------------------- keys
const KEYS = [["← →", "word before, word after"], ["↑ ↓", "depth of the patch words"],
  ["[ ]", "head before, head after"], ["M", "next map"], ["Space", "hold: the photograph alone"],
  ["G", "colours of the photograph"], ["C", "copy a link to exactly this"],
    ["Esc", "let go of patch, head and alternative"], ["?", "these keys"],
    ["Tab", "words, picture, heads: arrows move inside, Enter keeps"]];

const buildHelp = () => {
  const dialog = h.dialog({ class: "help", "aria-label": "Keys" }, h.h2("Keys"),
    h.dl(KEYS.map(([key, meaning]) => h.div(h.dt(h.kbd(key)), h.dd(meaning)))),
    h.button({ type: "button", class: "small", click: () => dialog.close() }, "close"));
  return dialog;
};

/** `ear` is where keys are heard: the document of an own page, or only what is drawn where others share the page. */
const listenToKeys = (ear, root, data, store, act) => {
  const typing = (target) => target.closest?.("input:not([type=checkbox]), textarea, select");
  const turn = (list, now, by) => list[(list.indexOf(now) + by + list.length) % list.length];
  const head = (by) => store.set({ head: clamp((store.state.head ?? (by > 0 ? -1 : 1)) + by, 0,
    data.layers * data.heads - 1) });
  const depth = (by) => store.set({ depth: clamp(store.state.depth + by, 0, data.layers) });
  const acts = {
    ArrowLeft: () => act.step(-1), ArrowRight: () => act.step(1), ArrowUp: () => depth(1), ArrowDown: () => depth(-1),
      "[": () => head(-1), "]": () => head(1),
    m: () => store.set({ map: turn(data.maps.map((map) => map.key), store.state.map, 1) }),
      g: () => store.set({ colour: !store.state.colour }),
    c: act.link, "?": act.help, Escape: () => store.set({ patch: null, head: null, against: null, hoverPatch: null,
      hoverHead: null }), " ": () => store.set({ peek: true }),
  };
  const down = (event) => {
    const own = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!own || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)
      || root.querySelector("dialog[open]")) return;
    if (event.key === " " && event.target.closest?.("button, summary, input, a")) return;
    event.preventDefault();
    own();
  };
  const up = (event) => { if (event.key === " ") store.set({ peek: false }); };
  ear.addEventListener("keydown", down);
  ear.addEventListener("keyup", up);
  return () => { ear.removeEventListener("keydown", down); ear.removeEventListener("keyup", up); };
};

// --------------------------------------------------------------------------------------------------- export
const download = (name, content, kind) => {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  h.a({ href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};

const copy = async (text, tell) => {
  try { await navigator.clipboard.writeText(text); tell("Copied."); }
  catch { tell("Copying is not allowed here."); }
};

const patchTable = (data, state) => [["patch", "row", "column", ...data.maps.map((map) => map.title)],
  ...Array.from({ length: data.patches }, (_, patch) =>
  [patch, Math.floor(patch / data.cols), patch % data.cols,
    ...data.maps.map((map) => data.ofWord(map.array, shownWord(state))[patch])])];

const NOT_SHOWN = ["Attention patterns are held fixed: what a patch adds once it is looked at is credited, why it was looked at is not.",
  "A patch stands for what its position holds after the vision encoder, which has already mixed in other parts of the picture. Only the map to the pixels goes behind that.",
  "A part is arithmetic on one run. Whether the answer changes without it is what the receipts test."];

const buildRecord = (data, tell) => {
  const { checks = [], method, made_by: made, model, created, dependence } = data.explanation;
  const facts = [["model", `${model.name}, ${model.layers} layers of ${model.heads} heads`], ["method", method.name],
    ["rule", method.rule], ["dependence", dependence?.rule],
    ["made", [`lapilli ${made.version}`, created, made.device, made.dtype, made.seconds && `${plain(made.seconds)} s`,
      `seed ${made.seed}`].filter(Boolean).join(" · ")]];
  return section("How this was made", "record", [h.div({ class: "columns" },
    h.div(h.h3("What the maps do not show"), h.ul({ class: "limits" }, NOT_SHOWN.map((text) => h.li(text)))),
    h.div(h.h3("Checks"), h.ul({ class: "checks" }, checks.map((check) => h.li({ class: check.passed ? "passed"
      : "failed" }, h.i(check.passed ? "✓" : "✕"), check.name,
      h.small(`${tiny(check.value)}, limit ${tiny(check.tolerance)}`)))))),
  h.dl({ class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => h.div(h.dt(name), h.dd(value)))),
  made.command?.length ? copyLine(made.command.join(" "), tell) : null]);
};

const question = ({ prompt }) => prompt.tokens.filter((token) => token.source === "question").map((token) =>
  token.text).join("").trim() || prompt.text;

const START = { word: 0, against: null, map: "direct", scale: "word", patch: null, depth: 0, head: null, part: "all",
  smooth: false,
  colour: false, sinkless: false, hoverWord: null, hoverPatch: null, hoverHead: null, says: null, peek: false,
    pictureWidth: 0, networkWidth: 0, evidenceWidth: 600 };

/** Keeps the address in step with what is kept: a step back undoes a chosen word. At most four writes a second. */
const mirror = (store, data, initial, root) => {
  let waiting = 0;
  const write = () => {
    waiting = 0;
    const hash = toHash(store.state, initial);
    root.dataset.hash = hash;
    if (location.protocol === "about:" || location.hash.slice(1) === hash) return;
    const wordThere = fromHash(location.hash, data).word ?? initial.word;
    history[wordThere === store.state.word ? "replaceState" : "pushState"](null, "", hash ? `#${hash}`
      : location.pathname + location.search);
  };
  const linked = Object.keys(LINKED);
  store.draws(linked, () => { waiting ||= setTimeout(write, 250); });
  const back = () => store.set({ ...Object.fromEntries(linked.map((key) => [key, initial[key]])),
    ...fromHash(location.hash, data) });
  window.addEventListener("popstate", back);
  return () => { clearTimeout(waiting); window.removeEventListener("popstate", back); };
};

/** Parts out of sight are drawn when they come near, or when all is printed. */
const restOutOfSight = (root, store) => {
  const watch = new IntersectionObserver((seen) => seen.forEach(({ target, isIntersecting }) => {
    target.classList.toggle("away", !isIntersecting);
    if (isIntersecting) store.catchUp(target);
  }), { rootMargin: "40px" });
  root.querySelectorAll(".part").forEach((part) => watch.observe(part));
  const all = () => store.catchUp(root);
  window.addEventListener("beforeprint", all);
  return () => { watch.disconnect(); window.removeEventListener("beforeprint", all); };
};

const loadImage = async (source) => { const image = new Image(); image.src = source; await image.decode(); return image; };

const compose = (root, data, store, images, tell) => {
  const act = {
    word: (word) => store.set({ word, against: null, hoverWord: null }),
      step: (by) => act.word(clamp(store.state.word + by, 0, data.words.length - 1)),
    against: (against) => store.set({ word: shownWord(store.state), against, hoverWord: null }),
      help: () => help.showModal(),
    link: () => copy(location.href.split("#")[0] + (root.dataset.hash ? `#${root.dataset.hash}` : ""), tell),
  };
  const help = buildHelp();
  const picture = buildPicture(data, store, images.image, tell);
  const network = buildNetwork(data, store, tell);
  const save = (title, run) => h.button({ type: "button", class: "small", click: run }, title);
  const tools = h.div({ class: "tools top" }, save("copy link", act.link),
    h.span({ class: "download" }, save("CSV", () => download("patches.csv", asCsv(patchTable(data, store.state)),
      "text/csv")),
      save("JSON", () => download("explanation.json", JSON.stringify(data.explanation), "application/json"))),
      save("? keys", act.help));
  const options = [choice("Map", data.maps, "map", store,
    { now: (state) => shownMap(data, state).key, off: (state, key) => shownAgainst(state) && key !== "direct" }),
    choice("Scale", [{ key: "word", title: "this word" }, { key: "answer", title: "whole answer" }], "scale", store),
      h.span({ class: "toggles" }, toggle("smooth", "smooth", store,
      "Blend between patches: easier on the eye, less true"),
      toggle("colour", "colour", store, "The photograph in its own colours"), data.sinks.length
        ? toggle("without sinks", "sinkless", store, "Leave sinks out of the scale") : null)];
  root.append(h.header({ class: "head" }, h.p({ class: "question" }, question(data.explanation)), tools,
    buildWords(data, store, act), buildTokens(data, store, act), buildDependence(data)),
    h.div({ class: "columns-2" }, h.div({ class: "look" }, buildTarget(data, store, act), h.div({ class: "stage" },
      picture.box), buildScale(data, store), h.div({ class: "options" }, options),
      buildReadout(data, store), buildSeen(data, images.view)),
    h.div({ class: "evidence" }, [buildSources(data, store), buildReceipts(data, store, tell), network.node,
      buildLens(data, store), buildRoutes(data, store), buildRecord(data, tell)].filter(Boolean))), help);
  return { act, size: () => { picture.size(); network.size(); } };
};

const open = async ({ model, root, ended }) => {
  const explanation = model.get("explanation");
  const data = understand(explanation, readTensors(model.get("arrays")));
  const image = await loadImage(model.get("image"));
  if (ended.now) return;
  const initial = { ...START, word: explanation.answer.focus ?? 0, depth: data.layers, map: data.maps[0].key,
    part: data.parts[0].key };
  const hosted = location.protocol !== "about:" && model.get("linked"); // a frame has no address of its own
  const store = createStore({ ...initial, ...model.get("state"), ...(hosted ? fromHash(location.hash, data) : {}) });
  const live = h.p({ class: "live", role: "status", "aria-live": "polite" });
  const tell = (text) => { say(live, text); clearTimeout(live.timer); live.timer = setTimeout(() => say(live, ""),
    4000); };
  const { act, size } = compose(root, data, store, { image, view: model.get("view") }, tell);
  root.append(live);
  store.draws(["word", "hoverWord"], (state) => Object.assign(root.dataset, { word: state.word,
    shown: shownWord(state) }));
  store.draws(Object.keys(LINKED), (state) => { model.set("state", Object.fromEntries(Object.keys(LINKED).map((key) =>
    [key, state[key]]))); model.save_changes(); });
  const follow = () => store.set(model.get("state") ?? {});
  model.on("change:state", follow);
  ended.also.push(() => model.off("change:state", follow));
  if (hosted) ended.also.push(mirror(store, data, initial, root));
  ended.also.push(listenToKeys(model.get("linked") ? document : root, root, data, store, act));
  size();
  store.drawAll();
  let width = root.clientWidth;
  const watch = new ResizeObserver(() => { // its height changes with every word and matters to nobody
    if (width !== root.clientWidth) requestAnimationFrame(size);
    width = root.clientWidth;
  });
  watch.observe(root);
  ended.also.push(() => watch.disconnect());
  ended.also.push(restOutOfSight(root, store));
  root.dataset.state = "ready";
};

/** Draws the explanation of `model` into `el`; returns what removes it again. */
const render = ({ model, el }) => {
  const root = h.div({ class: "explain", "data-state": "loading" });
  const ended = { now: false, also: [] };
  el.append(root);
  open({ model, root, ended }).catch((error) => { root.dataset.state = "failed"; root.append(h.p({ role: "alert" },
    `The explanation could not be drawn: ${error.message}`)); });
  return () => { ended.now = true; ended.also.forEach((end) => end()); root.remove(); };
};

export default { render };
