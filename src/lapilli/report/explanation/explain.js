// One saved explanation, drawn: the answer's words, the picture, and where in the network the evidence arises.
// No imports; the module follows the anywidget contract. `model` holds `explanation` (the parsed JSON), `arrays`
// (the bytes of arrays.safetensors), `image` and `view` (data URIs), `link` (what is selected, as the fragment of a
// link) and `own` (true where the page holds nothing else, so that its keys are heard everywhere).
// All text reaches the document as text nodes: nothing that a model said is ever read as markup.

/**
 * @typedef {{shape: number[], numbers: Float32Array | Int32Array}} Tensor
 * @typedef {typeof START} State what is selected and what is hovered
 * @typedef {ReturnType<typeof createStore>} Store
 * @typedef {ReturnType<typeof understand>} Data the explanation with its arrays
 */

// ---------------------------------------------------------------------------------------------------- store
/**
 * A model for hosts without one: a page or an exported file.
 * @param {Object} state what `get` answers
 * @param {(content: any, buffers: any, reply: Function) => void} send where messages go
 */
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

/**
 * What is selected and hovered. A change is drawn in the next frame, by those who draw one of the changed keys; a
 * drawing out of sight waits until its part of the page is shown.
 */
export const createStore = (initial, plan = requestAnimationFrame) => {
  const state = { ...initial };
  const changed = new Set();
  const drawers = [];
  const isAway = ({ node }) => Boolean(node?.closest(".away"));
  const draw = () => {
    const due = drawers.filter(({ keys, late }) => late || keys.some((key) => changed.has(key)));
    changed.clear();
    for (const drawer of due) {
      drawer.late = isAway(drawer);
      if (!drawer.late) drawer.paint(state);
    }
  };
  return {
    state, draw,
    set(change) {
      const planned = changed.size > 0;
      for (const [key, value] of Object.entries(change)) {
        if (Object.is(state[key], value)) continue;
        state[key] = value;
        changed.add(key);
      }
      if (changed.size > 0 && !planned) plan(draw);
    },
    draws(keys, paint, node) { drawers.push({ keys, paint, node, late: false }); },
    drawAll() {
      drawers.forEach((drawer) => { drawer.late = true; });
      draw();
    },
  };
};

const START = {
  word: 0, against: null, map: "direct", scale: "word", patch: null, depth: 0, head: null, part: "all",
  smooth: false, grey: false, sinkless: false, peek: false,
  hoverWord: null, hoverPatch: null, hoverHead: null,
};

const below = (text, limit) => (/^\d+$/.test(text) && Number(text) < limit ? Number(text) : undefined);
const among = (text, options) => (options.some(({ key }) => key === text) ? text : undefined);
const flag = (text) => (text === "1" ? true : undefined);

/** The state in a link: the letter of each key, and the function that checks a value from a link. */
const LINKED = {
  word: ["w", (text, data) => below(text, data.words.length)],
  against: ["t", (text, data) => (data.alternative(text) ? text : undefined)],
  map: ["map", (text, data) => among(text, data.maps)],
  scale: ["s", (text) => among(text, SCALES)],
  patch: ["p", (text, data) => below(text, data.patches)],
  depth: ["d", (text, data) => below(text, data.layers + 1)],
  head: ["h", (text, data) => below(text, data.layers * data.heads)],
  part: ["m", (text, data) => among(text, data.parts)],
  smooth: ["smooth", flag],
  grey: ["grey", flag],
  sinkless: ["sinks", flag],
};
const LINKED_KEYS = Object.keys(LINKED);
const linkedOf = (state) => Object.fromEntries(LINKED_KEYS.map((key) => [key, state[key]]));

/** The selection as the fragment of a link; what is as it was at the start is left out. */
const toHash = (state, initial) => Object.entries(LINKED)
  .filter(([key]) => state[key] !== initial[key] && state[key] !== null && state[key] !== false)
  .map(([key, [letter]]) => `${letter}=${encodeURIComponent(state[key] === true ? 1 : state[key])}`).join("&");

/** The selection that a fragment asks for; parts that are unknown or out of date are left out. */
const fromHash = (hash, data) => {
  const fragment = new URLSearchParams(hash.replace(/^#/, ""));
  const read = Object.entries(LINKED)
    .filter(([, [letter]]) => fragment.has(letter))
    .map(([key, [letter, believe]]) => [key, believe(fragment.get(letter), data)]);
  return Object.fromEntries(read.filter(([, value]) => value !== undefined));
};

const SVG = "http://www.w3.org/2000/svg";
const SVG_NAMES = new Set(["svg", "path", "line", "text"]);

/** An element with attributes (functions are listeners), and children that are nodes or text; null is left out. */
const make = (name, attributes, children) => {
  const node = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (key === "style") { // the page's policy allows no style attributes
      for (const [name, part] of Object.entries(value)) node.style.setProperty(name, part);
    }
    else if (value || value === 0) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => (child ?? null) !== null));
  return node;
};

/** Elements by name, attributes first if there are any: h.p("text"), h.button({ class: "small", click }, "copy"). */
const h = new Proxy({}, {
  get: (_, name) => (first, ...rest) =>
    (first?.constructor === Object ? make(name, first, rest) : make(name, {}, [first, ...rest])),
});

const put = (node, attributes) => { for (const key in attributes) node.setAttribute(key, attributes[key]); };
/** Changes the text that a node starts with; the text node stays, which spares the styles a search for what it hits. */
const say = (node, text) => {
  const own = node.firstChild ?? node.appendChild(new Text());
  if (own.data !== text) own.data = text;
};
const button = (title, click) => h.button({ type: "button", class: "small", click }, title);

/** Gives a canvas its pixels. One that has them already keeps its drawing, which a new width would wipe out. */
const fit = (node, width, height) => {
  if (node.width !== width || node.height !== height) Object.assign(node, { width, height });
};

const chooseOrLetGo = (store, key, value) => store.set({ [key]: store.state[key] === value ? null : value });
const range = (length) => Array.from({ length }, (_, at) => at);
const sum = (values) => values.reduce((all, value) => all + value, 0);
const largestOf = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const rowAndColumn = (at, columns) => [Math.floor(at / columns), at % columns];

const ROUNDS_TO_ZERO = 1e-9;

/** A signed number as people write it, with a true minus: +3.12, −0.003, 0. */
export const signed = (value) => (value > 0 ? "+" : "") + plain(value);

/** A number without a plus: two decimals, more for small numbers and fewer for large ones. */
const plain = (value) => {
  const size = Math.abs(value);
  if (size < 0.0005) return tiny(value);
  return value.toFixed(size < 0.0995 ? 3 : size < 99.5 ? 2 : 1).replace("-", "−");
};
const tiny = (value) =>
  (Math.abs(value) < ROUNDS_TO_ZERO ? "0" : value.toExponential(0).replaceAll("-", "−").replace("+", ""));
const percent = (share) => `${share > 0 && share < 0.01 ? "<\u20091" : Math.round(100 * share)}\u202f%`;
const chance = (value) => (value < 0.01 ? "<.01" : value > 0.995 ? "1.0" : value.toFixed(2).replace(/^0/, ""));
const LEAST = 5e-4; // logits or nats: what is less is no part worth a number
const noted = (value) => signed(Math.abs(value) < LEAST ? 0 : value);
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;

const UNPRINTED = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

const BLANKS = { " ": "space", "\n": "line break", "\r": "return", "\t": "tab" };
const nameBlank = (run) => `‹${run.length > 1 ? count(run.length, BLANKS[run[0]]) : BLANKS[run]}›`;

/** A token's text with everything visible: a leading blank as ·, blanks alone by name, and what no font prints. */
export const visible = (text) => (/^[ \n\r\t]+$/.test(text) ? text.replace(/( +|\n+|\r+|\t+)/g, nameBlank)
  : text.replace(/^ /, "·").replace(/\r?\n/g, "⏎").replace(/\t/g, "⇥"))
  .replace(UNPRINTED, (sign) => `‹${sign.codePointAt(0).toString(16).padStart(2, "0")}›`) || "‹empty›";

// ---------------------------------------------------------------------------------------- safetensors reader
const KINDS = { F32: Float32Array, I32: Int32Array, F16: Uint16Array };

/** Numbers of half precision (1 bit sign, 5 bits exponent, 10 bits fraction) as ordinary ones. */
export const halves = (bits) => Float32Array.from(bits, (bit) => {
  const sign = bit & 0x8000 ? -1 : 1;
  const exponent = (bit >> 10) & 0x1f;
  const fraction = (bit & 0x3ff) / 0x400;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
});

/**
 * Returns the tensors of a safetensors file; those of types that the page does not use are left out.
 * @param {ArrayBuffer | DataView} bytes
 * @returns {Record<string, Tensor>}
 */
export const readTensors = (bytes) => {
  const view = bytes instanceof DataView ? bytes : new DataView(bytes);
  const start = 8 + Number(view.getBigUint64(0, true)); // the length of the header, the header, the numbers
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + 8, start - 8)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    const Kind = KINDS[dtype];
    if (!Kind) continue;
    const [from, to] = offsets.map((offset) => view.byteOffset + start + offset);
    const numbers = new Kind(view.buffer.slice(from, to)); // a copy: numbers must not start at any byte
    tensors[name] = { shape, numbers: dtype === "F16" ? halves(numbers) : numbers };
  }
  return tensors;
};

const MAPS = [
  { key: "direct", title: "direct", array: "image_patches", source: "sources",
    hint: "What reaches the word straight from a patch, through attention at the word’s own place" },
  { key: "all", title: "all paths", array: "all_paths_patches", source: "all_paths_sources",
    hint: "Everything that a patch led to, by way of other tokens too" },
  { key: "pixels", title: "to the pixels", array: "all_paths_pixels", source: "all_paths_sources",
    hint: "All paths, taken back through projector and vision encoder to the picture itself" },
];
const SCALES = [{ key: "word", title: "this word" }, { key: "answer", title: "whole answer" }];
const PARTS = [
  { key: "all", title: "contribution", array: "heads", layers: "layers", unit: "logits" },
  { key: "image", title: "from the picture", array: "heads_image", layers: null, unit: "logits" },
  { key: "chance", title: "log-probability", array: "heads_log_prob_increase",
    layers: "layers_log_prob_increase", unit: "nats" },
];

/** The sums of an array over the tokens of a word; a word of one token is a view. */
const sumOverTokens = ({ shape, numbers }, [first, last]) => {
  const size = numbers.length / shape[0];
  const row = (token) => numbers.subarray(token * size, (token + 1) * size);
  if (last - first === 1) return row(first);
  const total = new Float32Array(size);
  for (let token = first; token < last; token++) row(token).forEach((value, at) => { total[at] += value; });
  return total;
};

/** The explanation with its arrays, as the drawings ask for it. */
const understand = (explanation, arrays) => {
  const { answer, image, method, model } = explanation;
  const { rows, cols, sinks = [], registers = [] } = image.grid;
  const cache = new Map();
  const once = (name, build) => {
    if (!cache.has(name)) cache.set(name, build());
    return cache.get(name);
  };
  /** Which alternative "token.choice" means, and its place in the arrays; null where none is stored. */
  const alternative = (text) => {
    const [token, choice] = String(text).split(".").map(Number);
    const [tokens, choices] = arrays.alternatives_patches?.shape ?? [0, 0];
    return token < tokens && choice < choices ? { token, choice, at: token * choices + choice } : null;
  };
  /** Patches or sources of a token, less those of its alternative. */
  const minus = (name, text) => once(`${name} against ${text}`, () => {
    const { token, at } = alternative(text);
    const size = arrays[name].shape[1];
    const other = arrays[name === "sources" ? "alternatives_sources" : "alternatives_patches"].numbers;
    return sumOverTokens(arrays[name], [token, token + 1]).map((value, here) => value - other[at * size + here]);
  });
  const maps = MAPS.filter(({ array }) => arrays[array]);
  return {
    explanation, arrays, method, once, alternative, minus, maps, rows, cols, sinks, registers,
    receipts: explanation.receipts ?? [], words: answer.words, tokens: answer.tokens, patches: rows * cols,
    layers: model.layers, heads: model.heads,
    parts: PARTS.filter(({ array }) => arrays[array]),
    map: (key) => maps.find((map) => map.key === key) ?? maps[0],
    textOf: (word) => answer.words[word]?.text.trim() ?? "?",
    others: (token) => (answer.tokens[token].top ?? []).filter(({ id }) => id !== answer.tokens[token].id),
    ofWord: (name, word) => once(`${name} ${word}`, () => sumOverTokens(arrays[name], answer.words[word].tokens)),
  };
};

const WORD_KEYS = ["word", "hoverWord", "against"];
const shownWord = (state) => state.hoverWord ?? state.word;
const shownAgainst = (state) => (shownWord(state) === state.word ? state.against : null);
const shownMap = (data, state) => (shownAgainst(state) ? data.maps[0] : data.map(state.map));

/** The value of every patch for what is shown. */
const patchValues = (data, state) => {
  const against = shownAgainst(state);
  return against ? data.minus("image_patches", against) : data.ofWord(shownMap(data, state).array, shownWord(state));
};

/** The direct sources of what is shown. */
const sourceValues = (data, state) => {
  const against = shownAgainst(state);
  return against ? data.minus("sources", against) : data.ofWord("sources", shownWord(state));
};

// -------------------------------------------------------------------------------------------------- colors
const FOR = [213, 94, 0];
const AGAINST = [0, 114, 178];
const STRONGEST = 0.35; // the photograph keeps its colors under the strongest patch
const FAINTEST = 0.04; // below this part of the scale nothing is drawn
const ENDS_AT = 0.99; // of all patches this share lies within the scale
const LEAST_ERROR = 1e-7; // single precision cannot do better

/** The opacity of a value on a scale that ends at ±`most`: in proportion, up to 0.35, nothing below 4 %. */
export const opacity = (value, most) => {
  const size = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
  return size < FAINTEST ? 0 : STRONGEST * size;
};

/**
 * Values as the pixels of a canvas, one for each; whoever shows it makes them larger.
 * @param {(at: number) => number} place which pixel, by rows, a value has
 */
const imprint = (canvas, values, most, strongest = STRONGEST, place = (at) => at) => {
  const pixels = new ImageData(canvas.width, canvas.height);
  const { data } = pixels;
  values.forEach((value, at) => {
    const pixel = 4 * place(at);
    [data[pixel], data[pixel + 1], data[pixel + 2]] = value > 0 ? FOR : AGAINST;
    data[pixel + 3] = Math.round((255 * opacity(value, most) * strongest) / STRONGEST);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
};

/** The value below which the share `part` of all sizes lies. */
export const percentile = (values, part = ENDS_AT) => {
  const sizes = Float32Array.from(values).map(Math.abs).sort();
  return sizes.length ? sizes[Math.min(sizes.length - 1, Math.floor(part * sizes.length))] : 0;
};

const OUTLINED = 8; // an eighth of the picture: as much as a receipt removes

/** Rounded as Python rounds: of two whole numbers equally near, the even one. */
const evenly = (value) => 2 * Math.round(value / 2) === value + 0.5 ? value + 0.5 : Math.ceil(value - 0.5);
const sideOfAll = (values) => (sum(values) < 0 ? -1 : 1);

const eighthOf = (values) => Math.max(1, evenly(values.length / OUTLINED));

/** The strongest eighth of the patches on the side of the whole map, which is what a receipt removes. */
export const strongest = (values) => {
  const side = sideOfAll(values);
  const order = [...values.keys()].sort((a, b) => side * (values[b] - values[a]));
  const towards = order.filter((at) => side * values[at] > 0).length;
  return order.slice(0, Math.max(1, Math.min(eighthOf(values), towards)));
};

/** The border of a set of patches as lines [column, row, column, row] between the corners of the grid. */
export const border = (chosen, rows, cols) => {
  const lines = [];
  const inside = (row, col) => row >= 0 && col >= 0 && row < rows && col < cols && chosen.has(row * cols + col);
  for (const patch of chosen) {
    const [row, col] = rowAndColumn(patch, cols);
    if (!inside(row - 1, col)) lines.push([col, row, col + 1, row]);
    if (!inside(row + 1, col)) lines.push([col, row + 1, col + 1, row + 1]);
    if (!inside(row, col - 1)) lines.push([col, row, col, row + 1]);
    if (!inside(row, col + 1)) lines.push([col + 1, row, col + 1, row + 1]);
  }
  return lines;
};

/** The scale of one word's map: its end, and whether anything rises above rounding. */
const scaleOf = (data, state) => {
  const { array } = shownMap(data, state);
  const name = [array, shownWord(state), shownAgainst(state), state.scale, state.sinkless].join(" ");
  return data.once(`scale of ${name}`, () => ({ name, ...measure(data, state, array) }));
};

const measure = (data, state, array) => {
  const values = patchValues(data, state);
  const counted = (numbers) => (state.sinkless ? numbers.filter((_, at) => !data.sinks.includes(at)) : numbers);
  const shared = () => percentile(data.words.flatMap((_, word) => [...counted(data.ofWord(array, word))]));
  const most = state.scale === "answer" && !shownAgainst(state)
    ? data.once(`scale ${array} ${state.sinkless}`, shared) : percentile(counted(values));
  const error = Math.max(LEAST_ERROR, ...(data.explanation.checks ?? []).map((check) => Math.abs(check.value)));
  const largest = largestOf(values);
  const total = sum(sourceValues(data, state).map(Math.abs));
  return { values, most: most || largest, nothing: largest <= error * total };
};

// -------------------------------------------------------------------------------------------------- picture
const WIDEST = 480; // pixels of the page
const HIGHEST = 400; // leaves room for scale and words on a screen of 720
const DENSEST = 3; // pixels of the canvas for one of the page

/** The rectangle, in pixels of the picture, that holds the picture and all that the model was shown of it. */
export const frameOf = ([width, height], [viewWidth, viewHeight], [a, , , d, e, f]) => {
  const [left, top] = [Math.min(0, e), Math.min(0, f)];
  const [right, bottom] = [Math.max(width, e + a * viewWidth), Math.max(height, f + d * viewHeight)];
  return { left, top, width: right - left, height: bottom - top };
};

/** Where the patches' borders lie on the canvas: whole pixels, so that no seam shows between two patches. */
export const gridLines = (parts, viewSize, step, shift, origin, scale) =>
  range(parts + 1).map((at) => Math.round(((step * at * viewSize) / parts + shift - origin) * scale));

/** The geometry of the picture on a canvas that is `width` pixels of the page wide. */
const pictureGeometry = (data, width, ratio) => {
  const { size, view } = data.explanation.image;
  const [a, , , d, e, f] = view.to_image;
  const frame = frameOf(size, view.size, view.to_image);
  const scale = (width / frame.width) * ratio;
  const x = gridLines(data.cols, view.size[0], a, e, frame.left, scale);
  const y = gridLines(data.rows, view.size[1], d, f, frame.top, scale);
  return {
    ratio, x, y, width: Math.round(frame.width * scale), height: Math.round(frame.height * scale),
    picture: [-frame.left * scale, -frame.top * scale, size[0] * scale, size[1] * scale],
    view: [x[0], y[0], x.at(-1) - x[0], y.at(-1) - y[0]],
  };
};

const drawPhotograph = (canvas, at, image, grey) => {
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#808080";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, ...at.picture);
  if (grey) {
    pen.globalCompositeOperation = "saturation"; // takes the grey's saturation: none
    pen.fillRect(...at.picture);
    pen.globalCompositeOperation = "source-over";
    pen.fillStyle = "rgba(170,170,170,.15)"; // luminance × 0.85 + 0.1
    pen.fillRect(...at.picture);
  }
  hatchUnseen(pen, at);
};

/** Hatches what lies in the picture or in the view but not in both: cut off, or padding. */
const hatchUnseen = (pen, at) => {
  const area = new Path2D();
  area.rect(...at.picture);
  area.rect(...at.view);
  pen.save();
  pen.clip(area, "evenodd");
  pen.fillStyle = "rgba(40,44,48,.62)";
  pen.fillRect(0, 0, at.width, at.height);
  pen.strokeStyle = "rgba(255,255,255,.3)";
  pen.lineWidth = at.ratio;
  pen.beginPath();
  for (let x = -at.height; x < at.width; x += 8 * at.ratio) {
    pen.moveTo(x, at.height);
    pen.lineTo(x + at.height, 0);
  }
  pen.stroke();
  pen.restore();
};

/** The patches with a border: those of the receipts of what is shown, or else those that a receipt would be about. */
const outlined = (data, state) => {
  const { name, values } = scaleOf(data, state);
  return data.once(`outlined ${name}`, () => testOf(data, state)?.done.patches ?? strongest(values));
};

/** The first receipt of the word and the map that are shown; none of a difference is kept. */
const testOf = (data, state) => (shownAgainst(state) ? undefined : data.receipts.find((receipt) =>
  receipt.word === shownWord(state) && mapOf(receipt) === shownMap(data, state).title));

const drawHeat = (canvas, at, data, state, cells) => {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (state.peek) return;
  const { name, values, most, nothing } = scaleOf(data, state);
  if (!nothing) {
    imprint(cells, values, most);
    pen.imageSmoothingEnabled = state.smooth;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(cells, ...at.view);
    const chosen = outlined(data, state);
    const lines = data.once(`outline of ${name}`, () => border(new Set(chosen), data.rows, data.cols));
    outline(pen, at, lines, sum(chosen.map((patch) => values[patch])) < 0);
  }
  markPatches(pen, at, data);
};

const DASH = [5, 4]; // pixels of the page: around patches that speak against the word
const CASING = [["rgba(0,0,0,.6)", 5], ["#fff", 3.6]];

/** The color of its side between lines that any photograph leaves legible. */
const outline = (pen, at, lines, against) => {
  const path = new Path2D();
  const x = (col) => clamp(at.x[col], 2 * at.ratio, at.width - 2 * at.ratio);
  const y = (row) => clamp(at.y[row], 2 * at.ratio, at.height - 2 * at.ratio);
  for (const [x1, y1, x2, y2] of lines) {
    path.moveTo(x(x1), y(y1));
    path.lineTo(x(x2), y(y2));
  }
  pen.lineCap = against ? "butt" : "square";
  pen.setLineDash(against ? DASH.map((part) => part * at.ratio) : []);
  for (const [color, width] of [...CASING, [`rgb(${against ? AGAINST : FOR})`, 2]]) {
    pen.strokeStyle = color;
    pen.lineWidth = width * at.ratio;
    pen.stroke(path);
  }
  pen.setLineDash([]);
};

const MARK_SIDE = 9; // pixels of the page

/** Sinks get a hatched corner, registers a ring. */
const markPatches = (pen, at, data) => {
  const side = Math.min(MARK_SIDE * at.ratio, at.x[1] - at.x[0]);
  const mark = (patch, shape) => {
    const [row, col] = rowAndColumn(patch, data.cols);
    pen.setTransform(side, 0, 0, side, at.x[col], at.y[row]);
    pen.fill(shape);
    pen.stroke(shape);
  };
  pen.fillStyle = "rgba(0,0,0,.7)";
  pen.strokeStyle = "#fff";
  pen.lineWidth = at.ratio / side;
  data.sinks.forEach((patch) => mark(patch, new Path2D("M0 0H1L0 1ZM.7 0L0 .7M.35 0L0 .35")));
  data.registers.forEach((patch) => mark(patch, new Path2D("M.23.55a.32.32 0 1 0 .64 0a.32.32 0 1 0-.64 0")));
  pen.resetTransform();
};

/** Where a key leads from a cell of a grid; undefined where it is no key of a grid. */
const nextCell = (key, at, rows, cols) => {
  const [row, col] = rowAndColumn(at, cols);
  const next = {
    ArrowLeft: [row, col - 1], ArrowRight: [row, col + 1], ArrowUp: [row - 1, col], ArrowDown: [row + 1, col],
    Home: [row, 0], End: [row, cols - 1],
  }[key];
  return next && clamp(next[0], 0, rows - 1) * cols + clamp(next[1], 0, cols - 1);
};

/**
 * An invisible grid after the ARIA pattern: one tab stop, arrows inside. Pointer and keyboard call the same functions.
 * Only the cell under the keyboard is an element; it is made anew on each step, so that each step is announced.
 * @param {{rows: number, cols: number, name: string, describe: (cell: number) => string,
 *   preview: (cell: number | null) => void, lock: (cell: number) => void}} grid
 */
const gridLayer = ({ rows, cols, name, describe, preview, lock }) => {
  let stop = 0;
  const line = h.div({ role: "row" });
  const enter = (at) => {
    const [row, col] = rowAndColumn(at, cols);
    stop = at;
    put(line, { "aria-rowindex": row + 1 });
    line.replaceChildren(h.div({ role: "gridcell", tabindex: 0, "data-cell": String(at), "aria-colindex": col + 1,
      "aria-label": describe(at), focus: () => preview(at), blur: () => preview(null) }));
  };
  const keydown = (event) => {
    const next = nextCell(event.key, stop, rows, cols);
    if (event.key === "Enter" || event.key === " ") lock(stop);
    else if (next === undefined) return;
    else {
      enter(next);
      line.firstChild.focus({ preventScroll: true });
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const under = ({ offsetX, offsetY }) => {
    const row = clamp(Math.floor((offsetY / layer.clientHeight) * rows), 0, rows - 1);
    return row * cols + clamp(Math.floor((offsetX / layer.clientWidth) * cols), 0, cols - 1);
  };
  const size = { width: `${100 / cols}%`, height: `${100 / rows}%` };
  const marks = ["locked", "here"].map((kind) => h.div({ class: `mark ${kind}`, style: size }));
  const layer = h.div({
    class: "cells", role: "grid", "aria-label": name, "aria-rowcount": rows, "aria-colcount": cols, keydown,
    pointermove: (event) => preview(under(event)), pointerleave: () => preview(null),
    click: (event) => lock(under(event)),
  }, line, marks);
  const mark = (...places) => places.forEach((at, which) => {
    const [row, col] = rowAndColumn(at ?? 0, cols);
    marks[which].hidden = at === null;
    marks[which].style.translate = `${100 * col}% ${100 * row}%`;
  });
  enter(0);
  return { layer, mark };
};

const place = (data, patch) => {
  const [row, col] = rowAndColumn(patch, data.cols);
  return `row ${row + 1}, column ${col + 1}`;
};
const kindOf = (data, patch) =>
  (data.sinks.includes(patch) ? "sink" : data.registers.includes(patch) ? "register" : null);

const describePatch = (data, state, patch) => {
  const [first] = lensOf(data, state.depth, patch);
  return [place(data, patch), kindOf(data, patch),
    `${signed(patchValues(data, state)[patch])} logits for ${data.textOf(shownWord(state))}`,
    first && `says ${first.text.trim()}`].filter(Boolean).join(", ");
};

const MAP_KEYS = [...WORD_KEYS, "map"];
const SCALE_KEYS = [...MAP_KEYS, "scale", "sinkless"];

const buildPicture = (data, store, image, announce) => {
  const photograph = h.canvas({ "aria-hidden": "true" });
  const heat = h.canvas({ class: "heat", "aria-hidden": "true" });
  const cells = h.canvas({ width: data.cols, height: data.rows });
  const { layer, mark } = gridLayer({
    rows: data.rows, cols: data.cols, name: "Patches of the picture",
    describe: (patch) => describePatch(data, store.state, patch),
    preview: (hoverPatch) => store.set({ hoverPatch }),
    lock: (patch) => {
      chooseOrLetGo(store, "patch", patch);
      announce(describePatch(data, store.state, patch));
    },
  });
  const box = h.div({ class: "picture" }, photograph, heat, layer);
  let at;
  const size = (root) => {
    const { width, height } = pictureGeometry(data, WIDEST, 1);
    const shownWidth = Math.min(WIDEST, root.clientWidth, (HIGHEST * width) / height);
    at = pictureGeometry(data, shownWidth, clamp(window.devicePixelRatio, 1, DENSEST));
    [photograph, heat].forEach((canvas) => fit(canvas, at.width, at.height));
    root.style.setProperty("--look", `${shownWidth}px`);
    const [left, top, wide, high] = at.view.map((pixels, side) =>
      `${(100 * pixels) / (side % 2 ? at.height : at.width)}%`);
    Object.assign(layer.style, { left, top, width: wide, height: high });
  };
  store.draws(["grey", "peek"], (state) => drawPhotograph(photograph, at, image, state.grey && !state.peek));
  store.draws([...SCALE_KEYS, "peek", "smooth"], (state) => drawHeat(heat, at, data, state, cells));
  store.draws(["patch", "hoverPatch"], (state) => mark(state.patch, state.hoverPatch));
  return { box, size };
};

const BINS = 41; // odd: one of them is about zero
const BEYOND = 1.0001; // the end of the scale is a value itself, rounded

/** The number of patches with values of each size, from −most to +most. */
const histogram = (values, most) => {
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[clamp(Math.floor(((value / most + 1) / 2) * BINS), 0, BINS - 1)] += 1;
  return counts;
};

const buildScale = (data, store) => {
  const bars = h.path({ class: "histogram" });
  const numbers = ["low", "middle", "high"].map((kind) => h.span({ class: kind }));
  store.draws(SCALE_KEYS, (state) => {
    const { values, most, nothing } = scaleOf(data, state);
    const heights = histogram(values, most || 1).map(Math.sqrt); // few patches matter: let them show
    const tallest = Math.max(...heights);
    put(bars, { d: heights.map((height, bin) => `M${bin + 0.1} 1v${-height / tallest}h.8V1z`).join("") });
    const beyond = (sign) => values.filter((value) => sign * value > most * BEYOND).length;
    const clipped = (sign, many = beyond(sign)) => (many ? ` · ${many} beyond` : "");
    say(numbers[0], `−${plain(most)} against${clipped(-1)}`);
    say(numbers[1], nothing ? "no effect above rounding" : "0");
    say(numbers[2], `+${plain(most)} logits for${clipped(1)}`);
  });
  return h.div({ class: "scale" }, h.p({ class: "tiny" }, "Patches by their value (height: square root of how many)"),
    h.svg({ viewBox: `0 0 ${BINS} 1`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars),
    h.div({ class: "ramp" }), h.div({ class: "numbers" }, numbers));
};

/** The legend of the borders: the patches that the receipts name, if these test what is shown. */
const buildLegend = (data, store) => {
  const [mark, words] = [h.i(), h.span()];
  store.draws(MAP_KEYS, (state) => {
    const { values, nothing } = scaleOf(data, state);
    const [chosen, test] = [outlined(data, state), testOf(data, state)];
    const against = sum(chosen.map((patch) => values[patch])) < 0;
    mark.hidden = nothing;
    mark.className = against ? "border less" : "border";
    const own = strongest(values);
    const verb = `${chosen.length === 1 ? "speaks" : "speak"} most ${against ? "against" : "for"}`;
    const label = test && chosen.some((patch) => !own.includes(patch)) ? "named by hand"
      : `that ${verb} “${targetName(data, state)}”`;
    say(words, nothing ? "" : `Outlined: the ${count(chosen.length, "patch")} ${label} on this map; `
      + `${test ? "this map’s receipts remove exactly these." : "no receipt removes them."}`);
  });
  return h.p({ class: "legend" }, mark, words);
};

/** The condition number of the sum of a map's values, which says how far they cancel. */
export const conditionNumber = (values) => sum([...values].map(Math.abs)) / Math.abs(sum([...values]));

const buildCondition = (data, store) => {
  const words = h.span({ title: "The sum of the patches’ sizes over the size of their sum: 1 where all speak for the "
    + "same side; the larger, the more of the map cancels" });
  store.draws(MAP_KEYS, (state) => {
    const { nothing } = scaleOf(data, state);
    const number = conditionNumber(patchValues(data, state));
    const limit = data.method.doubtful_from?.[shownMap(data, state).key];
    say(words, nothing ? "" : `Condition number of this map: ${Number.isFinite(number) ? plain(number) : "∞"}.`
      + (number >= limit ? ` Such maps, from ${limit} on, ranked patches no better than chance.` : ""));
  });
  return h.p({ class: "condition tiny" }, words);
};

let groups = 0; // radio buttons of two explanations on one page must not know each other

/**
 * Radio buttons in one row.
 * @param {{key: string, title: string, hint?: string}[]} options
 * @param {{now?: Function, off?: Function}} rules which one is chosen, and which cannot be, where it is not plain
 */
const choice = (name, options, key, store, { now = (state) => state[key], off = () => false } = {}) => {
  const group = `choice-${groups++}`;
  const inputs = options.map((option) =>
    h.input({ type: "radio", name: group, value: option.key, change: () => store.set({ [key]: option.key }) }));
  store.draws([key, ...WORD_KEYS], (state) => inputs.forEach((input) => {
    input.checked = input.value === now(state);
    input.disabled = off(state, input.value);
  }));
  const labels = options.map(({ title, hint }, at) => h.label({ title: hint }, inputs[at], h.span(title)));
  return h.fieldset({ class: "choice" }, h.legend(name), labels);
};

const toggle = (title, key, store, hint) => {
  const input = h.input({ type: "checkbox", change: () => store.set({ [key]: input.checked }) });
  store.draws([key], (state) => { input.checked = state[key]; });
  return h.label({ class: "toggle", title: hint }, input, h.span(title));
};

const buildOptions = (data, store) => h.div({ class: "options" },
  choice("Map", data.maps, "map", store, {
    now: (state) => shownMap(data, state).key,
    off: (state, key) => Boolean(shownAgainst(state)) && key !== "direct",
  }),
  choice("Scale", SCALES, "scale", store),
  h.span({ class: "toggles" },
    toggle("smooth", "smooth", store, "Blend between patches: easier on the eye, less true"),
    toggle("grey", "grey", store, "The photograph without its colors"),
    data.sinks.length ? toggle("without sinks", "sinkless", store, "Leave sinks out of the scale") : null));

const buildSeen = (data, view) => {
  const { image } = data.explanation;
  const { lost, hidden = 0, size } = image.view;
  const notes = [
    lost === "cropped" && ["hatch", `Hatched: ${percent(hidden)} of the picture was cut off and never seen.`],
    lost === "padded" && ["hatch", "Hatched: padding, which the model saw but is no part of the picture."],
    data.sinks.length && ["sink", `Sinks (${data.sinks.length}): they gather attention whatever is asked.`],
    data.registers.length && ["register", `Registers (${data.registers.length}): unusually long vectors.`],
  ].filter(Boolean);
  return h.div({ class: "seen" }, h.img({ src: view, alt: "The picture as the model saw it", width: 64, height: 64 }),
    h.ul(h.li(`What the model saw: ${size.join(" × ")} pixels in ${data.rows} × ${data.cols} patches.`),
      notes.map(([kind, text]) => h.li(h.i({ class: kind }), text))));
};

// ---------------------------------------------------------------------------------------------------- words
const LONG_ANSWER = 130; // characters; longer ones are set smaller
const THICKEST_LINE = 3; // pixels
const OTHERS_SHOWN = 4;

/** The picture's part of a word, on the map chosen. */
const imagePart = (data, { source }, word) => {
  const names = source === "sources" ? data.method.sources : data.method.all_paths_sources;
  return data.ofWord(source, word)[names.indexOf("image")] ?? 0;
};

const wordAt = ({ target }) => {
  const word = target.closest("[data-word]");
  return word ? Number(word.dataset.word) : null;
};

const buildWords = (data, store, act) => {
  const cells = data.words.map((_, at) => h.button(
    { type: "button", role: "gridcell", tabindex: -1, class: "word", "data-word": at }, visible(data.textOf(at))));
  const keydown = (event) => {
    const word = { Home: 0, End: cells.length - 1 }[event.key];
    if (word === undefined) return;
    event.preventDefault();
    act.word(word);
  };
  const list = h.div({
    role: "grid", class: data.explanation.answer.text.length > LONG_ANSWER ? "words long" : "words",
    "aria-label": "Words of the answer", keydown,
    pointerover: (event) => store.set({ hoverWord: wordAt(event) }),
    pointerleave: () => store.set({ hoverWord: null }),
    click: (event) => { if (wordAt(event) !== null) act.word(wordAt(event)); },
  }, h.div({ role: "row" }, cells.map((cell) => [cell, " "])));
  store.draws(["word"], (state) => cells.forEach((cell, at) => {
    const chosen = at === state.word;
    put(cell, { tabindex: chosen ? 0 : -1, "aria-selected": chosen });
    if (chosen && list.contains(document.activeElement)) cell.focus();
  }));
  store.draws(["map"], (state) => underline(data, data.map(state.map), cells));
  return list;
};

const underline = (data, map, cells) => {
  const parts = cells.map((_, word) => imagePart(data, map, word));
  const most = largestOf(parts) || 1;
  cells.forEach((cell, word) => {
    cell.style.setProperty("--part", `${(THICKEST_LINE * Math.abs(parts[word])) / most}px`);
    cell.classList.toggle("less", parts[word] < 0);
    cell.title = `the picture’s part: ${signed(parts[word])} logits (${map.title})`;
  });
};

/** A button that offers one alternative after the other: what a hover changes is kept, as making it costs more. */
const otherChip = (data, act) => {
  let [own, chosen] = [null, false];
  const sure = h.small();
  const node = h.button({ type: "button", class: "chip", click: () => act.against(chosen ? null : own) }, "", sure);
  const draw = (key, other, against) => {
    node.hidden = !other;
    if (!other) return;
    const stored = Boolean(data.alternative(key));
    [own, chosen, node.disabled] = [key, key === against, !stored];
    put(node, { "data-against": key, "aria-pressed": chosen,
      title: stored ? "Show what speaks for the word rather than this" : "Not stored for this one" });
    say(node, visible(other.text));
    say(sure, chance(other.prob));
  };
  return { node, draw };
};

/** One token of the word: how likely it was, and what might have stood there. */
const tokenLine = (data, act) => {
  const [name, likely] = [h.b(), h.span()];
  const chips = range(OTHERS_SHOWN).map(() => otherChip(data, act));
  const draw = (token, against) => {
    const { text, prob, rank } = data.tokens[token];
    const others = data.others(token);
    say(name, visible(text));
    say(likely, `${percent(prob)} likely, ${rank ? `rank ${rank + 1}` : "first choice"}`);
    chips.forEach((chip, at) => chip.draw(`${token}.${at}`, others[at], against));
  };
  const rather = h.span({ class: "rather" }, "rather than", chips.map(({ node }) => node));
  return { node: h.div({ class: "token" }, name, likely, rather), draw };
};

const buildTokens = (data, store, act) => {
  const [list, lines] = [h.div(), []];
  store.draws(WORD_KEYS, (state) => {
    const [first, last] = data.words[shownWord(state)].tokens;
    const visibleLines = range(last - first).map((at) => (lines[at] ??= tokenLine(data, act)));
    visibleLines.forEach((line, at) => line.draw(first + at, shownAgainst(state)));
    if (list.childElementCount !== visibleLines.length) list.replaceChildren(...visibleLines.map(({ node }) => node));
  });
  return h.div({ class: "tokens" }, list, h.small("· marks a space"));
};

/** The target of the explanation in words: "taxi", or "taxi rather than cab". */
const targetName = (data, state) => {
  const against = shownAgainst(state);
  if (!against) return data.textOf(shownWord(state));
  const { token, choice: other } = data.alternative(against);
  return [data.tokens[token], data.others(token)[other]].map(({ text }) => visible(text.replace(/^ /, "")))
    .join(" rather than ");
};

const buildTarget = (data, store) => {
  const [name, value] = [h.b(), h.span()];
  store.draws(WORD_KEYS, (state) => {
    const logits = signed(sum(sourceValues(data, state)));
    say(name, targetName(data, state));
    say(value, `word ${shownWord(state) + 1} of ${data.words.length} · ${logits} logits`);
  });
  return h.p({ class: "target" }, name, value);
};

/** The texts for each verdict on a word's need of the picture: the heading, a sentence on the word, the consequence. */
const NEEDS = {
  visual: [null, "depends on the picture.", ""],
  "overall color": ["The picture’s overall color is enough.", "needs no more of the picture than its overall color.",
    " A blur leaves no more than that, and roughly where it lies. The maps show where that color lies, not that a thing "
      + "was recognised there; a patch that is blurred keeps it."],
  "no visual dependence": ["No visual dependence.", "does not need the picture.",
    " The maps say how the parts add up, not that the answer needs the picture."],
};

/** The model's answers without the picture in place of a word, and the word's log-probabilities. */
const withoutPicture = ({ log_prob: logProb, answer_blurred: blurred, answer_blank: blank, swapped }, word) => {
  const others = swapped ? `, ${plain(logProb.swapped)} at the median of ${swapped.log_prob.length} other pictures, `
    + `${swapped.same} of which leave the likeliest word the same` : "";
  const answers = [["With the picture blurred", blurred], ["With a blank", blank]].filter(([, text]) => text)
    .map(([when, text]) => ` ${when} the model says “${text.trim()}”.`).join("");
  return [logProb ? ` Log-probability of “${word}”: ${plain(logProb.full)} with the picture, ${plain(logProb.blurred)} `
    + `blurred, ${plain(logProb.blank)} blank${others}.` : "", answers];
};

/** Whether the word needs the picture at all; only the word in focus was tested. */
const buildDependence = (data, store) => {
  const dependence = data.explanation.dependence ?? {};
  const focus = data.explanation.answer.focus ?? 0;
  const [heading, needs, means] = NEEDS[dependence.verdict] ?? [];
  const [strong, words] = [h.strong(), h.span()];
  const line = h.p({ title: needs ? `Rule: ${dependence.rule}` : null }, strong, words);
  const [numbers, answers] = withoutPicture(dependence, data.textOf(focus));
  const verdict = `“${data.textOf(focus)}” ${needs}`;
  store.draws(["word"], (state) => {
    const here = state.word === focus;
    line.className = `dependence ${!needs || !here ? "quiet" : heading ? "blind" : "sees"}`;
    say(strong, !needs || !here ? "" : heading ?? verdict);
    say(words, here && needs ? numbers + (heading ? `${answers}${means} Rule: ${dependence.rule}.` : "")
      : `Whether “${data.textOf(state.word)}” depends on the picture was not tested.${needs ? ` ${verdict}` : ""}`);
  });
  return line;
};

// ---------------------------------------------------------------------------------------------- source bars
const LETTER = 6.8; // pixels: about its width in a bar, whose names stand only where they fit
const BEFORE_BARS = 76; // pixels: their titles

/** Signed parts laid end to end from zero, the picture's first: [{name, value, from, to}]. */
export const stack = (names, values) => {
  const order = [...names.keys()].sort((a, b) => (names[b] === "image") - (names[a] === "image"));
  const ends = { up: 0, down: 0 };
  return order.map((at) => {
    const side = values[at] < 0 ? "down" : "up";
    const from = ends[side];
    ends[side] += values[at];
    return { name: names[at], value: values[at], from, to: ends[side] };
  });
};

const called = (source) => (source === "image" ? "picture" : source);
const sideOf = (value) => (value < 0 ? "against" : "for");

/** One row of parts on the scale from `low` to `high`, with a line at zero and a thick one at the sum. */
const sourceBar = (title, names) => {
  const [segments, zero, end] = [names.map(() => h.i()), h.i({ class: "at-zero" }), h.i({ class: "at-sum" })];
  const bar = h.div({ class: "bar", role: "img", "aria-label": `${title}: the numbers are in the table below` },
    segments, zero, end);
  const missing = h.em("not stored for a difference of two words");
  const draw = (values, [low, high], wide) => {
    [bar.hidden, missing.hidden] = [!values, Boolean(values)];
    if (!values) return;
    const at = (value) => (100 * (value - low)) / (high - low);
    stack(names, values).forEach(({ name, value, from, to }, index) => {
      const [left, width] = [at(Math.min(from, to)), at(Math.max(from, to)) - at(Math.min(from, to))];
      Object.assign(segments[index].style, { left: `${left}%`, width: `${width}%` });
      segments[index].className = name === "image" ? sideOf(value) : `grey${index % 3}`;
      say(segments[index], (width / 100) * wide > LETTER * (called(name).length + 1.5) ? called(name) : "");
    });
    zero.style.left = `${at(0)}%`;
    end.style.left = `${at(sum(values))}%`;
  };
  return { node: h.div({ class: "bar-row" }, h.span(title), bar, missing), draw };
};

const buildSources = (data, store) => {
  const paths = [{ title: "direct", own: data.method.sources, values: (state) => sourceValues(data, state) }];
  if (data.arrays.all_paths_sources) {
    paths.push({ title: "all paths", own: data.method.all_paths_sources, values: (state) =>
      (shownAgainst(state) ? null : data.ofWord("all_paths_sources", shownWord(state))) });
  }
  const names = ["image", ...new Set(paths.flatMap(({ own }) => own).filter((name) => name !== "image"))];
  const [story, note] = [h.p({ class: "finding" }), h.p({ class: "note" })];
  let wide = 0;
  const bars = paths.map(({ title, own }) => sourceBar(title, own));
  const table = h.div({ class: "parts", style: { "--parts": names.length + 2 } });
  const rows = () => [["logits", ...names.map(called), "= sum"], ...paths.map(({ title, own, values }) => {
    const now = values(store.state);
    return [title, ...names.map((name) => (now ? now[own.indexOf(name)] ?? "–" : "–")), now ? sum(now) : "–"];
  })];
  store.draws(MAP_KEYS, (state) => {
    const values = paths.map((path) => path.values(state));
    const ends = paths.flatMap(({ own }, at) => (values[at] ? stack(own, values[at]).map(({ to }) => to) : []));
    const reach = [Math.min(0, ...ends), Math.max(ROUNDS_TO_ZERO, ...ends)];
    bars.forEach((bar, at) => bar.draw(values[at], reach, wide));
    tabulate(table, rows());
    say(story, sourceStory(data, state, values));
    say(note, errorNote(data, state, values[0]));
  });
  const box = h.div({ class: "bars" }, bars.map(({ node }) => node));
  const node = section("Where the evidence comes from", "sources", [story, box, table, note], rows, { table: false });
  return { node, size: () => { wide = box.clientWidth - BEFORE_BARS; } };
};

const MORE = 1.2, MOST = 2; // times the direct one: all paths say more, or more than half comes by other ways

const sourceStory = (data, state, [direct, all]) => {
  const word = `“${targetName(data, state)}”`;
  const near = direct[data.method.sources.indexOf("image")];
  if (!all) return `The picture speaks ${sideOf(near)} ${word} with ${signed(near)} logits directly.`;
  const far = all[data.method.all_paths_sources.indexOf("image")];
  const summary = `${word} gets ${signed(near)} logits from the picture directly, ${signed(far)} along all paths: `;
  return `${summary}${wayFound(near, far)}.${pixelStory(data, state, far)}`;
};

/** The conclusion from the direct and the total part of the picture about its route. */
const wayFound = (near, far) => {
  if (Math.sign(far) !== Math.sign(near)) return "by way of other tokens and of later layers the sign turns";
  const times = far / near;
  if (times > MOST) return "most of what the picture gives comes by way of other tokens and of later layers";
  return times > MORE ? `${signed(far - near)} of it comes by way of other tokens and of later layers`
    : "little is added by way of other tokens and of later layers";
};

/** The remainder of the map to the pixels: it belongs to no pixel, and may be most of the picture's part. */
const pixelStory = (data, state, far) => {
  if (!data.arrays.all_paths_vision_biases || shownMap(data, state).key !== "pixels") return "";
  const [constants] = data.ofWord("all_paths_vision_biases", shownWord(state));
  return ` Of these, ${signed(far - constants)} go back to pixels and ${signed(constants)} to constants of the vision`
    + " encoder, which are there whatever it sees.";
};

const errorNote = (data, state, direct) => {
  const { target, frozen_norm: frozen } = data.method;
  const kinds = { token: "the word’s logit", centred: "the word’s logit minus the mean of all words",
    difference: `the difference to “${target.against_text ?? target.against}”` };
  const kind = shownAgainst(state) ? "the difference between the two words’ logits" : kinds[target.kind];
  const errors = (data.explanation.checks ?? []).filter(({ name }) => /sum/.test(name)).map(({ value }) => tiny(value));
  return `Explained is ${kind}, ${signed(sum(direct))}.`
    + (errors.length ? ` The parts add up to it with a relative error of ${errors.join(" and ")}.` : "")
    + (frozen ? " The last norm’s factor is held fixed." : "");
};

/**
 * A part of the page: a heading with its tools and what is drawn.
 * @param {() => any[][]} [rows] its numbers, for a table and a file, the first row with their names
 */
const section = (title, name, body, rows, { tools = [], table = true } = {}) => {
  const numbers = h.div({ class: "numbers-table wide", hidden: true, tabindex: 0 });
  const show = button("table", () => {
    numbers.hidden = !numbers.hidden;
    tabulate(numbers, rows());
    put(show, { "aria-expanded": !numbers.hidden });
  });
  const save = () => download(`${name}.csv`, asCsv(rows()), "text/csv");
  return h.section({ class: `part ${name}` },
    h.header(h.h2(title), h.div({ class: "tools" }, tools, rows && table ? show : null,
      rows ? h.span({ class: "download" }, button("CSV", save)) : null)), body, numbers);
};

/** Shows rows as a table in `box`; a table that is there already only gets new numbers. */
const tabulate = (box, [head, ...rows]) => {
  const words = (value) => (Number.isInteger(value) || typeof value !== "number" ? String(value) : signed(value));
  const cells = box.querySelectorAll("td");
  if (cells.length === rows.length * head.length) {
    rows.flat().forEach((value, at) => say(cells[at], words(value)));
    return;
  }
  box.replaceChildren(h.table(h.thead(h.tr(head.map((name) => h.th({ scope: "col" }, name)))),
    h.tbody(rows.map((row) => h.tr(row.map((value) => h.td(words(value))))))));
};

/** Rows as CSV. What a spreadsheet would run as a formula is disarmed. */
export const asCsv = (rows) => rows.map((row) => row.map((cell) => {
  const text = typeof cell === "number" ? String(cell) : String(cell).replace(/^([=+\-@\t\r])/, "'$1");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\r\n");

// --------------------------------------------------------------------------------------------------- matrix
const LEFT = 40; // pixels before a drawing, for its numbers
const RIGHT = 94; // and after it, for the names of its lines
const PROFILE_HEIGHT = 96;
const CELL = { narrowest: 4, widest: 72, lowest: 6, highest: 34, together: 288 }; // pixels
const HEADS_END_AT = 0.995;
const RANKED = 9; // heads in the list

const LEAST_LINE = 13; // pixels between two names of heads

const headHeight = (data) => clamp(Math.floor(CELL.together / data.heads), CELL.lowest, CELL.highest);
const headName = (data, head) => `layer ${Math.floor(head / data.heads)}, head ${head % data.heads}`;
const shownPart = (data, state) => data.parts.find(({ key }) => key === state.part) ?? data.parts[0];
const headValues = (data, state) => data.ofWord(shownPart(data, state).array, shownWord(state));
const fromImage = (data, state, head) =>
  (data.arrays.heads_image ? noted(data.ofWord("heads_image", shownWord(state))[head]) : null);
const HEAD_KEYS = ["word", "hoverWord", "part"];

const describeHead = (data, state, head) => {
  const image = fromImage(data, state, head);
  return `${headName(data, head)}: ${signed(headValues(data, state)[head])} ${shownPart(data, state).unit}`
    + (image ? `, of this from the picture ${image}` : "");
};

/** Heads by layer, one pixel each, with the grid over them. */
const buildMatrix = (data, store, announce) => {
  const canvas = h.canvas({ width: data.layers, height: data.heads });
  const transpose = (at, columns, rows) => (at === null ? null : (at % columns) * rows + Math.floor(at / columns));
  const headOf = (cell) => transpose(cell, data.layers, data.heads); // cells count along rows, heads along columns
  const cellOf = (head) => transpose(head, data.heads, data.layers);
  const { layer, mark } = gridLayer({
    rows: data.heads, cols: data.layers, name: "Heads, by layer",
    describe: (cell) => describeHead(data, store.state, headOf(cell)),
    preview: (cell) => store.set({ hoverHead: headOf(cell) }),
    lock: (cell) => {
      const head = headOf(cell);
      chooseOrLetGo(store, "head", head);
      announce(describeHead(data, store.state, head));
    },
  });
  store.draws(HEAD_KEYS, (state) => {
    const values = headValues(data, state); // no photograph below: the full color may be used
    imprint(canvas, values, percentile(values, HEADS_END_AT), 1, cellOf);
  }, layer);
  store.draws(["head", "hoverHead"], (state) => mark(cellOf(state.head), cellOf(state.hoverHead)), layer);
  layer.style.backgroundSize = `${100 / data.layers}% ${100 / data.heads}%`;
  const every = Math.ceil(LEAST_LINE / headHeight(data));
  const names = range(data.heads).filter((head) => head % every === 0).map((head) =>
    h.span({ style: { top: `${(100 * (head + 0.5)) / data.heads}%` } }, head ? head : "head 0"));
  return h.div({ class: "matrix" }, canvas, layer, h.div({ class: "names", "aria-hidden": "true" }, names));
};

/** A row of the list that shows one head after the other: making rows anew on each hover would cost too much. */
const rankedRow = (store) => {
  const [name, bar, number, part] = [h.span(), h.i(), h.b(), h.small()];
  let own = null;
  const row = h.button({
    type: "button", click: () => chooseOrLetGo(store, "head", own),
    pointerenter: () => store.set({ hoverHead: own }), pointerleave: () => store.set({ hoverHead: null }),
  }, name, h.span({ class: "track" }, bar), number, part);
  const draw = (data, state, head, most) => {
    const value = headValues(data, state)[head];
    own = head;
    say(name, `L${Math.floor(head / data.heads)} H${head % data.heads}`);
    say(number, signed(value));
    say(part, data.arrays.heads_image ? `picture ${fromImage(data, state, head)}` : "");
    bar.className = sideOf(value);
    bar.style.width = `${(100 * Math.abs(value)) / (most || 1)}%`;
    put(row, { "aria-pressed": head === state.head });
  };
  return { node: h.li(row), draw };
};

/** The strongest heads: what the small cells of the matrix say, in rows that a finger can hit. */
const buildRanked = (data, store) => {
  const rows = range(Math.min(RANKED, data.layers * data.heads)).map(() => rankedRow(store));
  const list = h.ol({ class: "ranked" }, rows.map(({ node }) => node));
  store.draws([...HEAD_KEYS, "head"], (state) => {
    const values = headValues(data, state);
    const best = [...values.keys()].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
    rows.forEach((row, rank) => row.draw(data, state, best[rank], Math.abs(values[best[0]])));
  }, list);
  return list;
};

/** The caution about log-probability gains: where the stream is short, they are small whatever is added. */
const gainsNote = (data, state) => {
  const lengths = data.arrays.stream_lengths && data.ofWord("stream_lengths", shownWord(state));
  const [first, last] = data.words[shownWord(state)].tokens;
  return "These gains do not add up to anything, and are near 0 where the stream is short beside the final one."
    + (lengths ? ` Its length before each layer, and behind the last: ${[...lengths].map((length) =>
      (length / (last - first)).toFixed(2)).join(" · ")}.` : "");
};

const buildNetwork = (data, store, announce) => {
  const profile = h.svg({ class: "lines", role: "img",
    "aria-label": "Contribution by layer; the numbers are in the table" });
  const matrix = buildMatrix(data, store, announce);
  const [most, readout] = [h.p({ class: "note" }), h.p({ class: "readout" })];
  const chart = h.div({ class: "chart" }, profile, matrix, most, readout);
  let cell = CELL.narrowest;
  const size = () => {
    cell = clamp(Math.floor((chart.clientWidth - LEFT - RIGHT) / data.layers), CELL.narrowest, CELL.widest);
    Object.assign(matrix.style, { width: `${cell * data.layers}px`, height: `${headHeight(data) * data.heads}px` });
  };
  store.draws(HEAD_KEYS, (state) => {
    const { unit, key } = shownPart(data, state);
    drawProfile(profile, seriesOf(data, state), cell);
    say(most, `Above, by layer: bars are attention and MLP together, in ${unit}. Below, by layer and head: the `
      + `strongest color is ±${plain(percentile(headValues(data, state), HEADS_END_AT))}. `
      + (key === "chance" ? gainsNote(data, state) : "Heads of a layer add up to its attention."));
  }, chart);
  store.draws([...HEAD_KEYS, "head", "hoverHead"], (state) => {
    const head = state.hoverHead ?? state.head;
    say(readout, head === null ? "Point at a head, or choose one from the list." : describeHead(data, state, head));
  }, chart);
  const rows = () => [["layer", "head", ...data.parts.map(({ title }) => title)], ...range(data.layers * data.heads)
    .map((head) => [...rowAndColumn(head, data.heads),
      ...data.parts.map(({ array }) => data.ofWord(array, shownWord(store.state))[head])])];
  const list = h.div(h.h3("Strongest heads"), buildRanked(data, store));
  const node = section("Where in the network", "network", h.div({ class: "network-box" }, chart, list), rows,
    { tools: choice("Show", data.parts, "part", store) });
  return { node, size };
};

// -------------------------------------------------------------------------------------------------- profile
const AXIS = 20; // pixels below a chart, for what is written there
const LINE = 15; // between two labels
const SAMPLE = 18; // of a line, before its name
const LEAST_STEP = 44; // between two numbers of the x axis
const NEARLY_ZERO = 0.01; // beside something a hundred times as large

const svgText = (x, y, words, kind, anchor = "start") => h.text({ x, y, class: kind, "text-anchor": anchor }, words);

/** Labels at the ends of lines, pushed apart until none touches another: their heights in the order given. */
export const apart = (heights, least) => {
  const order = [...heights.keys()].sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((at, rank) => { if (rank) placed[at] = Math.max(placed[at], placed[order[rank - 1]] + least); });
  return placed;
};

/** Where values and zero end, below and above; an end that is nearly zero beside the other is zero. */
export const reachOf = (values) => [Math.min(0, ...values), Math.max(0, ...values)]
  .map((value, _, [low, high]) => (Math.abs(value) < NEARLY_ZERO * (high - low) ? 0 : value));

/** Attention and MLP by layer, [name, values]; attention alone where MLPs have no such part. */
const seriesOf = (data, state) => {
  const { layers } = shownPart(data, state);
  if (data.arrays[layers]) {
    const both = data.ofWord(layers, shownWord(state));
    return [["attention", [...both.subarray(0, data.layers)]], ["MLP", [...both.subarray(data.layers)]]];
  }
  const heads = headValues(data, state);
  const ofLayer = (layer) => sum(heads.subarray(layer * data.heads, (layer + 1) * data.heads));
  return [["attention", range(data.layers).map(ofLayer)]];
};

/**
 * Lines over layers with their names at their ends, on bars for their sums where these are given.
 * @param {{width: number, height: number, steps: number[], x: (step: number) => number, axis: string,
 *   curves: [name: string, values: number[], kind: string][], sums?: number[], bar?: number}} chart
 */
const drawLines = (drawing, { width, height, steps, x, axis, curves, sums = [], bar = 0 }) => {
  const [low, high] = reachOf([...curves.flatMap(([, values]) => values), ...sums]);
  const y = (value) => LINE / 2 + ((height - LINE) * (high - value)) / (high - low || 1);
  const through = (values) =>
    `M${values.map((value, at) => `${x(steps[at]).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`;
  const bars = (side) => sums.map((value, at) =>
    (sideOf(value) === side ? `M${x(steps[at]) - bar / 2} ${y(0)}V${y(value)}h${bar}V${y(0)}z` : "")).join("");
  const heights = apart(curves.map(([, values]) => y(values.at(-1))), LINE);
  const over = Math.max(0, Math.max(...heights) - height + LINE / 2);
  const every = Math.ceil(LEAST_STEP / Math.abs((x(steps.at(-1)) - x(steps[0])) / steps.length || LEAST_STEP));
  const labelled = ([name, , kind], at) => {
    const label = heights[at] - over;
    return [h.path({ class: `line ${kind}`, d: `M${width + 8} ${label}h${SAMPLE}` }),
      svgText(width + 14 + SAMPLE, label + 4, name)];
  };
  put(drawing, { height: height + AXIS });
  drawing.replaceChildren(
    ...["for", "against"].map((side) => h.path({ class: side, d: bars(side) })),
    h.line({ class: "zero", x1: LEFT, x2: width, y1: y(0), y2: y(0) }),
    ...curves.map(([, values, kind]) => h.path({ class: `line ${kind}`, d: through(values) })),
    ...curves.flatMap(labelled),
    ...[low, 0, high].filter((value, at) => at === 1 || Math.abs(y(value) - y(0)) > LEAST_LINE)
      .map((value) => svgText(LEFT - 6, y(value) + 4, plain(value), "tick", "end")),
    ...steps.filter((_, at) => at % every === 0).map((step) => svgText(x(step), height + 15, step, "tick", "middle")),
    svgText(width + 14 + SAMPLE, height + 15, axis, "tick"));
};

/** Attention, MLP and their sum by layer, above the matrix on its x axis. */
const drawProfile = (drawing, series, cell) => {
  const steps = range(series[0][1].length);
  drawLines(drawing, {
    width: LEFT + cell * steps.length, height: PROFILE_HEIGHT, steps, axis: "layer",
    x: (layer) => LEFT + (layer + 0.5) * cell, bar: Math.max(1, cell - 2),
    curves: series.map(([name, values]) => [name, values, name]),
    sums: steps.map((layer) => sum(series.map(([, values]) => values[layer]))),
  });
};

// ---------------------------------------------------------------------------------------------- patch words
const FAINT = 0.05; // less likely words are set apart

/**
 * The likeliest words of a patch at one depth, or none where they were not stored.
 * @returns {{text: string, prob: number}[]}
 */
const lensOf = (data, depth, patch) => {
  const { lens_ids: ids, lens_probs: probs } = data.arrays;
  if (!ids || patch === null) return [];
  const size = ids.shape[2];
  const start = (depth * data.patches + patch) * size;
  const wordOf = (id) => data.explanation.vocabulary?.[id] ?? `#${id}`;
  return range(size).map((at) => ({ text: wordOf(ids.numbers[start + at]), prob: probs.numbers[start + at] }));
};

const lensWord = ({ text, prob }) =>
  h.span({ class: prob < FAINT ? "faint" : null }, visible(text), h.small(chance(prob)));

const sayLensWord = (node, word) => {
  node.hidden = !word;
  if (!word) return;
  node.className = word.prob < FAINT ? "faint" : "";
  say(node, visible(word.text));
  say(node.lastChild, chance(word.prob));
};

const depthName = (depth) => (depth ? `layer ${depth - 1}` : "enters");
const SURE = 0.5; // no word above it: the table says so

const buildReadout = (data, store) => {
  const [value, what, words] = [h.b(), h.span(), lensOf(data, 0, 0).map(lensWord)];
  store.draws([...MAP_KEYS, "patch", "hoverPatch", "depth"], (state) => {
    const patch = state.hoverPatch ?? state.patch;
    say(value, patch === null ? "" : signed(patchValues(data, state)[patch]));
    const lens = data.arrays.lens_ids && `as words (logit lens, ${depthName(state.depth)}):`;
    say(what, patch === null ? "Point at a patch; click to keep it."
      : [" logits", place(data, patch), kindOf(data, patch), lens].filter(Boolean).join(" · "));
  });
  store.draws(["patch", "hoverPatch", "depth"], (state) => {
    const likeliest = lensOf(data, state.depth, state.hoverPatch ?? state.patch);
    words.forEach((node, at) => sayLensWord(node, likeliest[at]));
  });
  return h.div({ class: "patch-readout" }, h.p(value, what), h.p({ class: "says" }, words));
};

/** One patch at every depth: the kept one, or else the one that gives the word most. */
const buildLens = (data, store) => {
  if (!data.arrays.lens_ids) return null;
  const [which, body] = [h.p({ class: "note" }), h.tbody()];
  const table = h.div({ class: "wide lens", tabindex: 0 }, h.table(body));
  const row = (depth, patch) => h.tr({ click: () => store.set({ depth }) },
    h.th({ scope: "row" }, depthName(depth)),
    lensOf(data, depth, patch).map((word) => h.td(lensWord(word))));
  store.draws(["patch", "word", "map", "against"], (state) => {
    const values = patchValues(data, { ...state, hoverWord: null });
    const patch = state.patch ?? values.indexOf(Math.max(...values));
    const name = state.patch === null ? "The patch that gives the word most" : "The kept patch";
    const likeliest = Math.max(...range(data.layers + 1).map((depth) => lensOf(data, depth, patch)[0]?.prob ?? 0));
    say(which, `${name}: ${place(data, patch)}. The logit lens: its hidden state after each layer, read as if it were `
      + "the model’s last, with the five likeliest words. The model never says these, and nothing trained them to be "
      + "words: they may be noise, all the more in early layers; italic ones are below 5\u202f%. · marks a space."
      + (likeliest < SURE ? " Here no word reaches 50\u202f% at any depth: take them for noise." : ""));
    body.replaceChildren(...range(data.layers + 1).map((depth) => row(depth, patch)));
  }, table);
  store.draws(["patch", "word", "map", "against", "depth"], (state) =>
    [...body.children].forEach((line, depth) => line.classList.toggle("now", depth === state.depth)), table);
  return section("What the patches say", "patch-words", [which, table]);
};

// --------------------------------------------------------------------------------------------------- routes
/** One route: a bar for every window of layers, all routes on one scale, and what cutting it everywhere does. */
const routeRow = (name) => {
  const sides = ["for", "against"].map((side) => h.path({ class: side }));
  const [zero, whole] = [h.line({ class: "zero" }), h.b()];
  const drawing = h.svg({ class: "cut-bars", preserveAspectRatio: "none", "aria-hidden": "true" }, zero, sides);
  const draw = (values, [low, high], everywhere) => {
    const y = (value) => (high - value) / (high - low || 1);
    put(drawing, { viewBox: `0 0 ${Math.max(1, values.length)} 1` });
    put(zero, { x1: 0, x2: values.length, y1: y(0), y2: y(0) });
    sides.forEach((side, at) => put(side, { d: values.map((value, window) => // less of the word: the route was for it
      ((value < 0) === !at ? `M${window + 0.15} ${y(0)}V${y(value)}h.7V${y(0)}z` : "")).join("") }));
    say(whole, everywhere === undefined ? "" : noted(everywhere));
  };
  return { node: h.li(h.span(name), drawing, whole), draw };
};

const buildRoutes = (data, store) => {
  const { routes } = data.explanation;
  if (!routes || !data.arrays.routes) return null;
  const { windows, window: cut } = routes;
  const names = routes.names.map((name) => name.replace(/\s*->\s*/, " → "));
  const lines = [...names, ...(data.arrays.routes_whole ? ["image → all text"] : [])].map(routeRow);
  const valuesOf = (state, route) => [...data.ofWord("routes", shownWord(state))
    .subarray(route * windows.length, (route + 1) * windows.length)];
  const whole = (state) => (data.arrays.routes_whole ? data.ofWord("routes_whole", shownWord(state)) : []);
  const list = h.ul({ class: "cuts" }, lines.map(({ node }) => node), h.li({ class: "tiny" }, h.span("first layer cut"),
    h.span({ class: "ends" }, h.span(windows[0][0]), h.span(windows.at(-1)[0])), h.span("in all layers")));
  const note = h.p({ class: "note" });
  store.draws(["word", "hoverWord"], (state) => {
    const reach = reachOf([...data.ofWord("routes", shownWord(state))]);
    lines.forEach(({ draw }, at) => draw(at < names.length ? valuesOf(state, at) : [], reach, whole(state)[at]));
    say(note, `Change of the log-probability of “${data.textOf(shownWord(state))}” when attention along a route is `
      + `cut: in ${count(cut, "layer")} at a time (bars, from ${plain(reach[0])} to ${plain(reach[1])}), and in all layers. `
      + "Down, in orange: the route carried evidence for the word.");
  }, list);
  const rows = () => [["layers", ...names],
    ...windows.map(([first, last], at) => [last - first > 1 ? `${first} to ${last - 1}` : `${first}`,
      ...names.map((_, route) => valuesOf(store.state, route)[at])]),
    ["all", ...names.map((_, route) => whole(store.state)[route] ?? "")]];
  return section("How it travels", "routes", [note, list], rows);
};

// -------------------------------------------------------------------------------------------------- receipt
/** Each verdict's sign, its words, and what the rule says of it. */
const VERDICTS = {
  confirmed: ["✓", "Effect confirmed", (all, times) => `Beyond all ${all}, and ${times} what was predicted.`],
  "confirmed-but-smaller": ["◐", "Effect confirmed, but smaller",
    (all, times) => `Beyond all ${all}, but only ${times} what was predicted.`],
  "confirmed-but-larger": ["◑", "Effect confirmed, but larger",
    (all, times) => `Beyond all ${all}, but ${times} what was predicted: the effect is real, the predicted size is not.`],
  "not-confirmed": ["✕", "Not confirmed", (all) => `Among the ${all}: random patches do as much.`],
  opposite: ["⇄", "Opposite", (all) => `Beyond all ${all}, but on the other side.`],
  "not-tested": ["○", "Not tested", () => "Without enough controls, or without a predicted effect, nothing is tested."],
};
const DONE = { mean: "replaced by the mean", zero: "set to zero", blank: "made blank", resample: "resampled",
  "other-image": "from another picture", blur: "blurred in the picture", "read-knockout": "hidden from the text" };

/** The verdict to print: without controls nothing was tested, whatever the receipt says. */
export const verdictOf = (receipt) => (receipt.controls.changes.length ? receipt.verdict : "not-tested");

/** The effects of a receipt to draw: name, kind of mark, values, and their summary in words. */
const effectsOf = (receipt) => {
  const { predicted, measured, controls, shuffled } = receipt;
  // Controls that were stopped, since one had done as much, are no sample: they have no mean.
  const inBrief = triedOf(receipt) < plannedOf(receipt) ? (values) => `${values.length} run` : meanAndSpread;
  return [
    ["predicted", "hollow", predicted === null ? [] : [predicted]], ["measured", "dot", [measured.change]],
    [shuffled?.kind.toLowerCase(), "control", shuffled ? [shuffled.change] : []],
    ["scattered", "control", controls.changes, inBrief], ["in pieces", "control", controls.contiguous ?? [], inBrief],
  ].filter(([, , values]) => values.length)
    .map(([name, kind, values, inWords = meanAndSpread]) => [name, kind, values, inWords(values)]);
};

const LEAST_MEAN = 0.05; // of the spread: what is less is zero

const meanAndSpread = (values) => {
  const mean = sum(values) / values.length;
  if (values.length === 1) return signed(mean);
  const variance = sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1);
  const spread = Math.sqrt(variance);
  return `${Math.abs(mean) < LEAST_MEAN * spread ? 0 : signed(mean)} ± ${plain(spread)}`;
};

const LEAST_GAP = 0.35; // between two numbers of the axis, as a share of it

/** Truth, theory and chance on one axis, which all receipts of a word share. */
const effectChart = (effects, [low, high]) => {
  const left = (value) => ({ left: `${(100 * (value - low)) / (high - low || 1)}%` });
  const strip = (...marks) => h.div({ class: "strip" }, h.i({ class: "at-zero", style: left(0) }), marks);
  const rows = effects.map(([name, kind, values, words]) => [h.span(name),
    strip(values.map((value) => h.i({ class: kind, style: left(value) }))), h.span(words)]);
  const ends = [low, 0, high].filter((value, at) => at === 1 || Math.abs(value) > LEAST_GAP * (high - low))
    .map((value) => h.em({ style: left(value) }, plain(value)));
  const summary = effects.map(([name, , , words]) => `${name} ${words}`).join(", ");
  return h.div({ class: "effects", role: "img", "aria-label": `Change of the logit: ${summary}` },
    rows, h.span(), h.div({ class: "strip ends" }, ends), h.span("logits"));
};

const quoted = (part) => (/^[\w./:=,@+-]+$/.test(part) ? part : `'${part.replaceAll("'", "'\\''")}'`);

const repeatBox = (summary, facts, command, announce) => {
  const line = command.map(quoted).join(" ");
  return h.details(h.summary({ class: "small" }, summary), facts ? h.p({ class: "note" }, facts) : null,
    h.div({ class: "command" }, h.code(line), button("copy", ({ currentTarget }) => copy(line, currentTarget, announce))));
};

const receiptCard = (data, receipt, reach, announce) => {
  const verdict = verdictOf(receipt);
  const [sign, words, consequence] = VERDICTS[verdict];
  const { done, measured, claim, command, id, seconds, seed } = receipt;
  const { answer_before: before, answer_after: after } = measured;
  const all = runOf(receipt);
  const facts = [`receipt ${id}`, seconds && `${plain(seconds)} s`, seed !== undefined && `seed ${seed}`];
  return h.article({ class: `receipt ${mapOf(receipt)}`, "data-receipt": id, "data-verdict": verdict },
    h.p({ class: "about" }, `${mapOf(receipt)} · ${DONE[done.kind] ?? done.kind}`),
    h.p({ class: "verdict" }, h.i({ "aria-hidden": "true" }, sign), words),
    h.p(claim ? `${claim.replace(/\.$/, "")}. ` : null,
      consequence(all, `${plain(measured.change / receipt.predicted)} times`)),
    effectChart(effectsOf(receipt), reach), h.p({ class: "note shuffled", title: SHUFFLED }, shuffledOf(receipt)),
    h.p({ class: "answers" },
      before === after ? `The answer stays “${after}”.` : [h.s(before), " → ", h.b(after)]),
    command?.length ? repeatBox("repeat", facts.filter(Boolean).join(" · "), command, announce) : null);
};
const mapOf = (receipt) => receipt.map ?? "direct";

const BY_CHANCE = 0.05; // of random removals may turn the word too
const WAY = { blur: "blurred in the picture", "read-knockout": "hidden from the text" };
const wayOf = ({ done }) => WAY[done.kind] ?? DONE[done.kind] ?? done.kind;
const triedOf = ({ controls }) => controls.changes.length + (controls.contiguous?.length ?? 0);
const plannedOf = (receipt) => receipt.controls.drawn ?? triedOf(receipt);

/** The number of controls that were run, of those planned: runs stop once the verdict is settled. */
const runOf = (receipt) => {
  const [run, planned] = [triedOf(receipt), plannedOf(receipt)];
  return run < planned ? `${run} controls that were run, of ${planned}` : count(run, "control");
};

const SHUFFLED = "As many patches, named by a map that knows nothing, beside the same controls. By chance it is confirmed "
  + "so often at most, and opposite as often.";

/** The same test of a map without knowledge, in words. */
export const shuffledOf = ({ shuffled }) => {
  if (!shuffled) return "";
  const often = ` (by chance confirmed ≤ 1 in ${Math.round(1 / shuffled.chance)}, opposite as often)`;
  const chance = shuffled.verdict === "not-tested" ? "" : often;
  return `${shuffled.kind}: ${signed(shuffled.change)}, ${VERDICTS[shuffled.verdict][1].toLowerCase()}${chance}.`;
};
const quote = (text) => (text ? `“${text}”` : "nothing");

/** Whether removing the patches matters more than chance, of whatever size its effect is: that makes them a reason. */
const isConfirmed = (verdict) => verdict.startsWith("confirmed");

/** The reason why a receipt does not show that its patches decide `word`; null where it does. */
export const failureOf = (receipt, word) => {
  const { predicted, measured: { answer_before: before, answer_after: after }, controls } = receipt;
  const verdict = verdictOf(receipt);
  if (verdict === "not-tested") return "not tested";
  if (before !== word) return `the model’s own word there is ${quote(before)} with them, ${quote(after)} without`;
  if (predicted > 0) return `they speak against the word, and without them it says ${quote(after)}`;
  if (before === after) return `it still says ${quote(after)}`;
  if (!isConfirmed(verdict)) return `it says ${quote(after)}, but its test came out ${VERDICTS[verdict][1].toLowerCase()}`;
  const turned = controls.answers_changed ?? 0;
  return turned > BY_CHANCE * triedOf(receipt)
    ? `it says ${quote(after)}, but random others change the word too, ${turned} of ${triedOf(receipt)} times` : null;
};

/**
 * The best finding of a word's receipts: the map whose patches decide it by most ways of removing.
 * @returns {{map: string, own: Object[], sure: Object[], ways: string[]} | undefined} `ways` are those of all maps
 */
export const reasonOf = (receipts, word) => {
  const ways = [...new Set(receipts.map(wayOf))];
  const sets = [...new Set(receipts.map(mapOf))].map((map) => {
    const own = receipts.filter((receipt) => mapOf(receipt) === map);
    return { map, own, ways, sure: own.filter((receipt) => failureOf(receipt, word) === null) };
  });
  return sets.reduce((best, set) => (best && best.sure.length >= set.sure.length ? best : set), undefined);
};

const reasonFor = (data, word) => data.once(`reason ${word}`, () =>
  reasonOf(data.receipts.filter((receipt) => receipt.word === word), data.textOf(word)));

/** The effects of random removals beside those of the named ones, for each way of removing. */
export const controlOf = (receipts) => receipts.filter(triedOf).map((receipt) => {
  const { done, measured, predicted, controls } = receipt;
  const [run, planned, turned] = [triedOf(receipt), plannedOf(receipt), controls.answers_changed];
  const most = largestOf([...controls.changes, ...(controls.contiguous ?? [])]);
  const size = { "confirmed-but-smaller": "less than half of", "confirmed-but-larger": "more than twice" }[verdictOf(receipt)];
  return ` Control, ${wayOf(receipt)}: ${count(done.patches.length, "patch")} at random, `
    + `${run < planned ? `${run} of ${planned} times, where it was settled` : count(run, "time")}, `
    + (turned === undefined ? "" : `${turned ? `changed the word ${count(turned, "time")}` : "never changed the word"} and `)
    + `moved it by ${plain(most)} logits at most, up or down; these ${measured.change < 0 ? "lower" : "raise"} it by `
    + `${plain(Math.abs(measured.change))}`
    + `${size ? `, ${size} the ${plain(Math.abs(predicted))} that the map predicts` : ""}.`;
}).join("");

/** The patches that a receipt removes, in words: their number is a rule, not a finding. */
export const namedOf = (chosen, values) => {
  const [own, of] = [strongest(values), `${chosen.length} of ${values.length}`];
  if (chosen.length !== own.length || chosen.some((patch) => !own.includes(patch))) {
    return `${of} patches, named by hand`;
  }
  return own.length === eighthOf(values) ? `the strongest eighth of the patches, ${of}`
    : `the only patches on its side, ${of}`;
};

/** The other maps that were tested and failed, in words: the page reports the best of several. */
const othersOf = (data, row, chosen) => {
  const others = data.receipts.filter((receipt) => receipt.word === row && mapOf(receipt) !== chosen);
  const shows = (map) => others.some((receipt) => mapOf(receipt) === map && failureOf(receipt, data.textOf(row)) === null);
  const failed = [...new Set(others.map(mapOf))].filter((map) => !shows(map));
  return failed.length ? ` These are of the map “${chosen}”; ${failed.map((map) => `“${map}”`).join(" and ")}, tested too, does `
    + "not show it." : "";
};

/** The page's first sentence: which patches decide the word and what it is without them, or that none is shown to. */
const buildReason = (data, store, act) => {
  const node = h.p({ class: "reason" });
  const keyOf = (map) => data.maps.find(({ title }) => title === map)?.key ?? store.state.map;
  const link = (words, click) => h.button({ type: "button", class: "these", click }, words);
  const these = ({ map, own: [{ done, word }] }) => {
    const { array } = data.map(keyOf(map));
    return link(namedOf(done.patches, data.ofWord(array, word)), () => store.set({ map: keyOf(map), against: null }));
  };
  const sentence = (set, word) => {
    const after = [...new Set(set.sure.map(({ measured }) => measured.answer_after))];
    const { own, sure, ways } = set;
    const control = h.small(controlOf(own));
    if (sure.length === ways.length) {
      const alternatives = after.length === 1 ? [h.b(after[0] || "nothing")] : sure.flatMap((receipt, at) =>
        [at ? " or " : "", h.b(receipt.measured.answer_after || "nothing"), ` (${wayOf(receipt)})`]);
      return ["It said ", h.b(word), " because of ", these(set), "; without them it says ", alternatives, ".", control];
    }
    const why = (way) => {
      const receipt = own.find((candidate) => wayOf(candidate) === way);
      return `${way}, ${!receipt ? "not tested"
        : failureOf(receipt, word) ?? `it says ${quote(receipt.measured.answer_after)}`}`;
    };
    return [...(sure.length ? ["That it said ", h.b(word), " because of ", these(set), " is shown in one way only"]
      : ["No set of patches was shown to decide this answer. Without ", these(set)]),
    `: ${(sure.length ? ways : own.map(wayOf)).map(why).join("; ")}.`,
    sure.length ? othersOf(data, own[0].word, set.map) : "", control];
  };
  store.draws(["word"], (state) => { // not of a hovered word: the page would jump under the pointer
    const [word, set] = [data.textOf(state.word), reasonFor(data, state.word)];
    const tested = [...new Set(data.receipts.map((receipt) => receipt.word))];
    node.dataset.shown = !set ? "untested" : !set.sure.length ? "not"
      : set.sure.length < set.ways.length ? "partly" : "shown";
    node.replaceChildren(...(set ? sentence(set, word) : [`What “${word}” rests on was not tested by removal.`,
      ...tested.flatMap((other) => [" Tested: ", link(data.textOf(other), () => act.word(other)), "."])]).flat(Infinity));
  });
  return node;
};

const buildReceipts = (data, store, announce) => {
  const { receipts } = data;
  const tested = [...new Set(receipts.map(({ word }) => `“${data.textOf(word)}”`))].join(", ");
  const [body, rule, plainly] = [h.div({ class: "cards" }), h.p({ class: "note" }), h.p({ class: "plainly" })];
  store.draws(["word", "against"], (state) => {
    plainly.hidden = !state.against || !receipts.some(({ word }) => word === state.word);
    const chosen = targetName(data, { ...state, hoverWord: null });
    say(plainly, `These test “${data.textOf(state.word)}” by itself, not “${chosen}”.`);
  });
  store.draws(["word"], (state) => {
    const own = receipts.filter(({ word }) => word === state.word);
    const reach = reachOf(own.flatMap((receipt) => effectsOf(receipt).flatMap(([, , values]) => values)));
    say(rule, [...new Set(own.map((receipt) => `Rule: ${receipt.rule}.`))].join(" "));
    const none = `○ Not tested for “${data.textOf(state.word)}”: nothing was removed to see whether this map is `
      + "right." + (tested ? ` Tested: ${tested}.` : "");
    body.replaceChildren(...own.map((receipt) => receiptCard(data, receipt, reach, announce)),
      ...(own.length ? [] : [h.p({ class: "untested" }, none)]));
  });
  const names = ["receipt", "word", "map", "kind", "predicted", "measured", "verdict", "controls run", "controls drawn",
    "shuffled", "its verdict"];
  const rows = () => [names, ...receipts.map((receipt) =>
    [receipt.id, data.textOf(receipt.word), mapOf(receipt), receipt.done.kind, receipt.predicted ?? "",
      receipt.measured.change, verdictOf(receipt), triedOf(receipt), plannedOf(receipt), receipt.shuffled?.change ?? "",
      receipt.shuffled?.verdict ?? ""])];
  return section("Tested by removal", "receipts", [plainly, body, rule], receipts.length ? rows : undefined);
};

// ----------------------------------------------------------------------------------------------------- keys
const KEYS = [
  ["← →", "word before, word after"], ["↑ ↓", "depth of the patch words"], ["[ ]", "head before, head after"],
  ["M", "next map"], ["Space", "hold: the photograph alone"], ["G", "the photograph in grey"],
  ["C", "copy a link to exactly this"], ["Esc", "let go of patch, head and alternative"], ["?", "these keys"],
  ["Tab", "words, picture, heads: arrows move inside, Enter keeps"],
];

const buildHelp = () => {
  const dialog = h.dialog({ class: "help", "aria-label": "Keys" }, h.h2("Keys"),
    h.dl(KEYS.map(([key, meaning]) => h.div(h.dt(h.kbd(key)), h.dd(meaning)))), button("close", () => dialog.close()));
  return dialog;
};

/** The action of each key. */
const actsOf = (data, store, act) => {
  const head = (by) => {
    const from = store.state.head ?? (by > 0 ? -1 : 1);
    store.set({ head: clamp(from + by, 0, data.layers * data.heads - 1) });
  };
  const depth = (by) => store.set({ depth: clamp(store.state.depth + by, 0, data.layers) });
  const nextMap = () => {
    const keys = data.maps.map(({ key }) => key);
    store.set({ map: keys[(keys.indexOf(store.state.map) + 1) % keys.length] });
  };
  return {
    ArrowLeft: () => act.step(-1), ArrowRight: () => act.step(1), ArrowUp: () => depth(1), ArrowDown: () => depth(-1),
    "[": () => head(-1), "]": () => head(1), m: nextMap, c: act.link, "?": act.help,
    g: () => store.set({ grey: !store.state.grey }), " ": () => store.set({ peek: true }),
    Escape: () => store.set({ patch: null, head: null, against: null, hoverPatch: null, hoverHead: null }),
  };
};

const TYPED_INTO = "input:not([type=checkbox]), textarea, select";
const PRESSED_BY_SPACE = "button, summary, input, a";

/** Listens to keys on `source`: the document of an own page, or only the explanation where others share the page. */
const listenToKeys = (source, root, acts, store, signal) => {
  const keydown = (event) => {
    const own = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const within = (selector) => Boolean(event.target.closest?.(selector));
    if (!own || event.ctrlKey || event.metaKey || event.altKey || within(TYPED_INTO)) return;
    if (root.querySelector("dialog[open]") || (event.key === " " && within(PRESSED_BY_SPACE))) return;
    event.preventDefault();
    own();
  };
  source.addEventListener("keydown", keydown, { signal });
  source.addEventListener("keyup", (event) => { if (event.key === " ") store.set({ peek: false }); }, { signal });
};

// --------------------------------------------------------------------------------------------------- export
const download = (name, content, kind) => {
  const url = URL.createObjectURL(new Blob([content], { type: kind }));
  h.a({ href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};

const COPIED_STAYS = 1500; // milliseconds

/** Copies `text`, and says on the button that asked for it whether that was allowed. */
const copy = async (text, button, announce) => {
  const title = button.dataset.title ??= button.textContent;
  const result = await navigator.clipboard.writeText(text).then(() => "copied", () => "not allowed here");
  say(button, result);
  announce(result);
  setTimeout(() => say(button, title), COPIED_STAYS);
};

const patchRows = (data, state) => [["patch", "row", "column", ...data.maps.map(({ title }) => title)],
  ...range(data.patches).map((patch) => [patch, ...rowAndColumn(patch, data.cols),
    ...data.maps.map(({ array }) => data.ofWord(array, shownWord(state))[patch])])];

const NOT_SHOWN = [
  "Attention patterns are held fixed: what a patch adds once it is looked at is credited, why it was looked at is not.",
  "A patch stands for what its position holds after the vision encoder, which has already mixed in other parts of the "
    + "picture. Only the map to the pixels goes behind that.",
  "A part is arithmetic on one run. Whether the answer changes without it is what the receipts test.",
];

const buildRecord = (data, announce) => {
  const { checks = [], method, made_by: run, model, created, dependence } = data.explanation;
  const making = [`lapilli ${run.version}`, created, run.device, run.dtype,
    run.seconds && `${plain(run.seconds)} s`, `seed ${run.seed}`].filter(Boolean).join(" · ");
  const facts = [["model", `${model.name}, ${count(model.layers, "layer")} of ${count(model.heads, "head")}`],
    ["method", method.name], ["rule", method.rule], ["dependence", dependence?.rule], ["made", making]];
  const check = ({ name, value, tolerance, passed }) => h.li({ class: passed ? null : "failed" },
    h.i(passed ? "✓" : "✕"), name, h.small(`${tiny(value)}, limit ${tiny(tolerance)}`));
  return section("How this was made", "record", [
    h.div({ class: "columns" },
      h.div(h.h3("What the maps do not show"), h.ul({ class: "limits" }, NOT_SHOWN.map((text) => h.li(text)))),
      h.div(h.h3("Checks"), h.ul({ class: "checks" }, checks.map(check)))),
    h.dl({ class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => h.div(h.dt(name), h.dd(value)))),
    run.command?.length ? repeatBox("repeat", null, run.command, announce) : null]);
};

const buildTools = (data, store, act, link) => h.div({ class: "tools top" }, link,
  h.span({ class: "download" },
    button("CSV", () => download("patches.csv", asCsv(patchRows(data, store.state)), "text/csv")),
    button("JSON", () => download("explanation.json", JSON.stringify(data.explanation), "application/json"))),
  button("? keys", act.help));

const buildStart = () => h.p({ class: "start" }, h.b("Start here: "),
  "click a word of the answer (the line under it is the picture’s part, dotted where that speaks against it), "
  + "then point at the picture.");

const questionOf = ({ prompt }) => prompt.tokens.filter(({ source }) => source === "question")
  .map(({ text }) => text).join("").trim() || prompt.text;

const MESSAGE_STAYS = 4000; // milliseconds

/** Calls `size` whenever the width of `root` changes; its height changes with every word and matters to nobody. */
const followWidth = (root, size, signal) => {
  let width = root.clientWidth;
  const watch = new ResizeObserver(() => {
    if (width !== root.clientWidth) requestAnimationFrame(size);
    width = root.clientWidth;
  });
  watch.observe(root);
  signal.addEventListener("abort", () => watch.disconnect());
};

/** Marks the parts that are out of sight, and draws them when they come near or when all is printed. */
const followSight = (root, store, signal) => {
  const show = (part, inSight) => part.classList.toggle("away", !inSight);
  const watch = new IntersectionObserver((entries) => {
    entries.forEach(({ target, isIntersecting }) => show(target, isIntersecting));
    store.draw();
  }, { rootMargin: "40px" });
  const parts = root.querySelectorAll(".part");
  parts.forEach((part) => watch.observe(part));
  signal.addEventListener("abort", () => watch.disconnect());
  window.addEventListener("beforeprint", () => {
    parts.forEach((part) => show(part, true));
    store.draw();
  }, { signal });
};

/** Tells the host what is selected, as the fragment of a link, and selects what the host's link says. */
const followHost = (model, store, data, initial, signal) => {
  store.draws(LINKED_KEYS, (state) => {
    model.set("link", toHash(state, initial));
    model.save_changes();
  });
  const follow = () => {
    const link = model.get("link") ?? "";
    if (link !== toHash(store.state, initial)) store.set({ ...linkedOf(initial), ...fromHash(link, data) });
  };
  model.on("change:link", follow);
  signal.addEventListener("abort", () => model.off("change:link", follow));
};

const loadImage = async (source) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
};

const actions = (data, store, initial, announce, help, link) => {
  const word = (to) => store.set({ word: to, against: null, hoverWord: null });
  return {
    word, step: (by) => word(clamp(store.state.word + by, 0, data.words.length - 1)),
    against: (against) => store.set({ word: shownWord(store.state), against, hoverWord: null }),
    link: () => copy(`${location.href.split("#")[0]}#${toHash(store.state, initial)}`, link, announce),
    help: () => help.showModal(),
  };
};

/** Builds the page in order; `size` fits the drawings to the width of `root`. */
const compose = (root, data, store, initial, images, announce) => {
  const help = buildHelp();
  const link = button("copy link", () => act.link());
  const act = actions(data, store, initial, announce, help, link);
  const picture = buildPicture(data, store, images.image, announce);
  const sources = buildSources(data, store);
  const network = buildNetwork(data, store, announce);
  root.append(
    h.header({ class: "head" }, h.p({ class: "question" }, questionOf(data.explanation)),
      buildTools(data, store, act, link), buildWords(data, store, act), buildReason(data, store, act), buildStart(),
      buildTokens(data, store, act), buildDependence(data, store)),
    h.div({ class: "columns-2" },
      h.div({ class: "look" }, buildTarget(data, store), picture.box, buildScale(data, store),
        buildCondition(data, store), buildLegend(data, store), buildOptions(data, store), buildReadout(data, store), buildSeen(data, images.view)),
      h.div({ class: "evidence" }, sources.node, buildReceipts(data, store, announce), network.node,
        buildRoutes(data, store), buildLens(data, store), buildRecord(data, announce))),
    help);
  const size = () => {
    picture.size(root);
    sources.size();
    network.size();
    store.drawAll();
  };
  return { act, size };
};

/** A line for screen readers: other readers see each change where it happens. */
const buildMessages = () => {
  const line = h.p({ class: "live", role: "status", "aria-live": "polite" });
  let timer = 0;
  const announce = (text) => {
    clearTimeout(timer);
    say(line, text);
    timer = setTimeout(() => say(line, ""), MESSAGE_STAYS);
  };
  return { line, announce };
};

/** Draws into `root`; what goes on after that ends with `signal`. */
const open = async (model, root, signal) => {
  const explanation = model.get("explanation");
  const data = understand(explanation, readTensors(model.get("arrays")));
  const image = await loadImage(model.get("image"));
  if (signal.aborted) return;
  const word = explanation.answer.focus ?? 0;
  const map = data.maps.find(({ title }) => title === reasonFor(data, word)?.map) ?? data.maps[0];
  const initial = { ...START, word, depth: data.layers, map: map.key, part: data.parts[0].key };
  const store = createStore({ ...initial, ...fromHash(model.get("link") ?? "", data) });
  const { line, announce } = buildMessages();
  const { act, size } = compose(root, data, store, initial, { image, view: model.get("view") }, announce);
  root.append(line);
  store.draws(["word", "hoverWord"], (state) =>
    Object.assign(root.dataset, { word: state.word, shown: shownWord(state) }));
  followHost(model, store, data, initial, signal);
  listenToKeys(model.get("own") ? document : root, root, actsOf(data, store, act), store, signal);
  size();
  followWidth(root, size, signal);
  followSight(root, store, signal);
  root.dataset.state = "ready";
};

/**
 * Draws the explanation of `model` into `el`.
 * @param {{model: ReturnType<typeof host>, el: HTMLElement}} host
 * @returns {() => void} what removes it again
 */
const render = ({ model, el }) => {
  const root = h.div({ class: "explain", "data-state": "loading" });
  const ended = new AbortController();
  el.append(root);
  open(model, root, ended.signal).catch((error) => {
    root.dataset.state = "failed";
    root.append(h.p({ role: "alert" }, `The explanation could not be drawn: ${error.message}`));
  });
  return () => {
    ended.abort();
    root.remove();
  };
};

export default { render };
