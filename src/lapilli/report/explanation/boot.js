// What the exported page adds to explain.js: unpack what it carries and draw it.
const held = (name) => document.getElementById(name).textContent;

const unpack = async (text) => {
  const signs = atob(text);
  const packed = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at++) packed[at] = signs.charCodeAt(at);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
};

/** A frame has no height of its own: its page is told how much is needed. */
const tellHeight = () => {
  if (window.parent === window) return;
  document.documentElement.classList.add("framed");
  const tell = () => window.parent.postMessage({ lapilliHeight: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(tell).observe(document.body);
};

const { image, view, explanation } = JSON.parse(held("explanation"));
const arrays = await unpack(held("arrays"));
render({ model: host({ explanation, arrays, image, view, state: {}, linked: true }), el: document.getElementById("here") });
tellHeight();
