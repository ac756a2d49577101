// The start of an exported page: it unpacks the data in the page and draws them with explain.js.
const textOf = (name) => document.getElementById(name).textContent;

const unpack = async (text) => {
  const signs = atob(text);
  const packed = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at++) packed[at] = signs.charCodeAt(at);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
};

/** Reports the height of the page to its frame, which has none of its own. */
const reportHeight = () => {
  if (window.parent === window) return;
  document.documentElement.classList.add("framed");
  const report = () => window.parent.postMessage({ lapilliHeight: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(report).observe(document.body);
};

const wordOf = (link) => /(?:^|&)w=(\d+)/.exec(link)?.[1];

/** Keeps the address in step with what is selected: a step back undoes a chosen word. */
const followAddress = (model) => {
  let waiting = 0;
  const there = () => location.hash.slice(1);
  const write = () => {
    waiting = 0;
    const link = model.get("link");
    if (there() === link) return;
    const change = wordOf(there()) === wordOf(link) ? "replaceState" : "pushState";
    history[change](null, "", link ? `#${link}` : location.pathname + location.search);
  };
  model.on("change:link", () => { waiting ||= setTimeout(write, 250); }); // browsers refuse more than a few per second
  window.addEventListener("popstate", () => model.set("link", there()));
};

const { image, view, explanation } = JSON.parse(textOf("explanation"));
const arrays = await unpack(textOf("arrays"));
const model = host({ explanation, arrays, image, view, link: location.hash.slice(1), own: true });
if (location.protocol !== "about:") followAddress(model); // a frame has no address of its own
render({ model, el: document.getElementById("here") });
reportHeight();
