// Lets all switches of one model follow each other, and sorts the table. Without it the page is whole, but for sorting.
document.addEventListener("change", ({ target }) => {
  if (!target.closest(".operators")) return;
  const [, model] = target.name.split("-");
  for (const other of document.querySelectorAll(`.operators input[name$="-${model}"][value="${target.value}"]`)) other.checked = true;
});

for (const table of document.querySelectorAll("[data-sortable]")) {
  const families = [...table.tBodies];
  const home = families.map((family) => [...family.rows].slice(1));
  const together = table.closest(".content").querySelector(".together input");
  const loose = table.createTBody();
  let chosen = null;

  const valueOf = (row, column) => {
    if (column === "method") return row.cells[0].textContent.trim().toLowerCase();
    const cells = [...row.cells].filter((cell) => cell.dataset.column === column);
    const cell = cells.find((candidate) => getComputedStyle(candidate).display !== "none") ?? cells[0];
    return cell?.dataset.sort === undefined ? null : Number(cell.dataset.sort);
  };

  const sorted = (rows) => {
    if (!chosen) return rows;
    const pairs = rows.map((row) => [row, valueOf(row, chosen.column)]);
    const ranked = pairs.filter(([, value]) => value !== null);
    ranked.sort(([, a], [, b]) => (a < b ? -1 : a > b ? 1 : 0) * chosen.direction);
    return [...ranked, ...pairs.filter(([, value]) => value === null)].map(([row]) => row);
  };

  const arrange = () => {
    for (const row of sorted(home.flat())) loose.append(row);
    if (together.checked) families.forEach((family, at) => family.append(...sorted(home[at])));
    for (const family of families) family.hidden = !together.checked;
    for (const button of table.querySelectorAll("thead button")) {
      const here = chosen?.column === button.dataset.column;
      button.closest("th").ariaSort = here ? (chosen.direction > 0 ? "ascending" : "descending") : null;
    }
  };

  for (const button of table.querySelectorAll("thead button")) {
    const { column, better } = button.dataset;
    const best = column === "method" || better !== "up" ? 1 : -1; // the better end comes first
    button.addEventListener("click", () => {
      chosen = chosen?.column !== column ? { column, direction: best } : chosen.direction === best ? { column, direction: -best } : null;
      arrange();
    });
  }
  together.addEventListener("change", arrange);
  document.addEventListener("change", (event) => event.target.closest(".operators") && chosen && arrange());
}
