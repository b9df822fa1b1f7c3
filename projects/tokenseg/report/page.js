"use strict";
// Sorts and searches the table of classes. Everything else on the page works without a script.
const table = document.querySelector("table.sortable");
if (table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  // A missing value is shown as a dash and comes last in both orders.
  const key = (row, column) => {
    const text = row.cells[column].textContent;
    return column === 0 ? text : parseFloat(text.replaceAll(",", ""));
  };
  const compare = (column, descending) => (a, b) => {
    const [x, y] = [key(a, column), key(b, column)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return (typeof x === "string" ? x.localeCompare(y) : x - y) * (descending ? -1 : 1);
  };
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...[...body.rows].sort(compare(column, descending)));
    });
  });
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });
}
