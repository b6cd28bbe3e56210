// Tables: a click on a column's head sorts by it (again: the other way round, a third time: as it was), and each is there as CSV.
const UNITS = { s: 1, min: 60, h: 3600 };
const text = cell => (cell?.innerText ?? "").replace(/\s+/g, " ").trim().replaceAll("−", "-");
const number = value => /^[+-]?\d[\d,.]*( |%|$)/.test(value) ? parseFloat(value.replaceAll(",", "")) * (UNITS[value.split(" ").pop()] ?? 1) : NaN;
const missing = value => value === "" || value === "–";

function sort(table, column, rows) {
  const heads = [...table.tHead.rows[0].cells], before = heads[column].ariaSort;
  const values = new Map(rows.map(row => [row, text(row.cells[column])]));
  const numeric = [...values.values()].every(value => missing(value) || !isNaN(number(value)));
  const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  const next = before === first ? second : before === second ? null : first, sign = next === "ascending" ? 1 : -1;
  const compare = (a, b) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return sign * (numeric ? number(a) - number(b) : a.localeCompare(b, undefined, { numeric: true }));
  };
  for (const head of heads) head.ariaSort = null;
  heads[column].ariaSort = next;
  table.tBodies[0].append(...(next ? rows.toSorted((a, b) => compare(values.get(a), values.get(b))) : rows));
}

for (const table of document.querySelectorAll("table:not(.pictures)")) {
  const rows = [...table.tBodies[0].rows], cells = [...table.rows].map(row => [...row.cells].map(text));
  const csv = cells.map(row => row.map(cell => `"${cell.replaceAll('"', '""')}"`).join(",")).join("\n");
  const link = Object.assign(document.createElement("a"), { textContent: "CSV", className: "csv", download: "table.csv" });
  link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(csv + "\n");
  table.after(link);
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    head.tabIndex = 0;
    head.title = "sort";
    head.onclick = () => sort(table, column, rows);
    head.onkeydown = event => { if (event.key === "Enter") sort(table, column, rows); };
  }
}
