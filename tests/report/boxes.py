"""What leaves its column on a page: measured by the boxes that a browser gives to text and to drawings."""

WIDTHS = (1280, 700, 390)

_OUTSIDE = """([columns, drawn, clipped]) => {
  const slack = 1, wrong = [];
  const shown = node => node.checkVisibility({ visibilityProperty: true }) && !node.closest(clipped);
  const check = (box, node, name) => {
    const column = node.closest(columns)?.getBoundingClientRect();
    const [left, right] = [Math.max(0, column?.left ?? 0), Math.min(innerWidth, column?.right ?? innerWidth)];
    if (box.width > 0 && (box.left < left - slack || box.right > right + slack))
      wrong.push(`${name}: ${[box.left, box.right].map(Math.round)}, not within ${[left, right].map(Math.round)}`);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || node.closest('script, style, noscript') || !shown(node)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const box of range.getClientRects()) check(box, node, text.data.trim().slice(0, 40));
  }
  for (const node of document.querySelectorAll(drawn))
    if (shown(node))
      check(node.getBoundingClientRect(), node.parentElement, `${node.tagName}.${node.getAttribute('class')}`);
  return wrong;
}"""

_TOUCHING = """([groups, labels]) => [...document.querySelectorAll(groups)].flatMap(group => {
  const boxes = [...group.querySelectorAll(labels)].map(node => [node.textContent, node.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], at) => boxes.slice(at + 1)
    .filter(([, b]) => a.width * b.width > 0 && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
    .map(([other]) => `${one} / ${other}`));
})"""


def outside(page, columns, drawn="none", clipped=".none"):
    """Every text and every element of `drawn` that leaves the window or the nearest of `columns`.

    What lies in `clipped` is meant to be cut off, or is for hearers alone.
    """
    return page.evaluate(_OUTSIDE, [columns, drawn, clipped])


def touching(page, groups, labels):
    """Pairs of `labels` within one of `groups` of which one lies upon the other."""
    return page.evaluate(_TOUCHING, [groups, labels])


def fit(page, width):
    """Give the window this width and a height that shows all of the page, and wait until it is drawn."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(height, 16_000)})
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))"
    )
