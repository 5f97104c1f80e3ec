"use strict";
// From a board and a state to rows, columns and elements. Draws exactly what the page came with
// when the state is the default one.
const SHADES = 8;
const FIRST_ROWS = 100;
const SIZES = [["to 100M", 0, 1e8], ["100M to 1B", 1e8, 1e9], ["1B to 4B", 1e9, 4e9], ["4B to 10B", 4e9, 1e10], ["over 10B", 1e10, Infinity]];

// Places (1 the best, equal values share one) and how many rows have a number.
function placesOf(column) {
  if (column.places) return column.places;
  const values = column.values.filter((value) => value !== null);
  values.sort((a, b) => (column.lower ? a - b : b - a));
  const first = new Map();
  values.forEach((value, index) => first.has(value) || first.set(value, index + 1));
  column.total = values.length;
  column.places = column.values.map((value) => (value === null ? null : first.get(value)));
  return column.places;
}

// `state.open` names the groups that were turned round: of the overview they show all of their
// columns, of an area only the headline.
function columnsOf(board, state) {
  const turned = new Set(state.open.split(","));
  const overview = state.preset === "overview";
  return board.columns.filter(
    (column) =>
      (overview || column.area === state.preset) &&
      (column.headline || turned.has(board.groups[column.group].key) === overview),
  );
}

function rowsOf(board, columns, state) {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  const size = SIZES.find(([name]) => name === state.size);
  const found = [];
  board.rows.forEach((row, index) => {
    const text = [row.name, row.note, row.kind, ...row.tags].join(" ").toLowerCase();
    if (!words.every((word) => text.includes(word))) return;
    if (size && !(row.count !== null && size[1] <= row.count && row.count < size[2])) return;
    if (state.kind && row.kind !== state.kind) return;
    if (state.tag && !row.tags.includes(state.tag)) return;
    if (state.complete && columns.some((column) => column.values[index] === null)) return;
    found.push(index);
  });
  const { of, descending } = sorting(board, state);
  if (!of) return found;
  const sign = descending ? -1 : 1;
  return found.sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return sign * (typeof x === "string" ? x.localeCompare(y, "en") : x - y) || a - b;
  });
}

// What rows are sorted by: a function of the row's index, and which way. No function: as they came.
function sorting(board, state) {
  const key = state.sort || (board.measured ? "win" : "");
  const column = board.columns.find((each) => each.key === key);
  const best = column ? !column.lower : key === "win" || key === "size";
  const descending = state.order ? state.order === "desc" : best;
  if (column) return { key, column, descending, best, of: (index) => column.values[index] };
  if (key === "name") return { key, descending, best, of: (index) => board.rows[index].name.toLowerCase() };
  if (key === "size") return { key, descending, best, of: (index) => board.rows[index].count };
  if (key === "win") return { key, descending, best, of: (index) => board.rows[index].win };
  return { key: "", descending, best, of: null };
}

function sortable(key, sorted, attributes, ...children) {
  const direction = sorted.key === key ? (sorted.descending ? "descending" : "ascending") : "none";
  const { after, ...rest } = attributes;
  return el("th", { ...rest, "aria-sort": direction }, el("button", { type: "button", "data-sort": key }, ...children), after ?? null);
}

function drawHead(board, columns, state) {
  const sorted = sorting(board, state);
  const tall = { rowspan: 2, scope: "col" };
  const groups = el("tr", { class: "groups" },
    el("th", { ...tall, class: "pos" }, "#"),
    sortable("name", sorted, { ...tall, class: "model" }, "Model"),
    sortable("size", sorted, { ...tall, class: "num size" }, "Size"));
  if (board.measured) {
    const title = "share of the other models that a model is before, mean over headline numbers";
    groups.append(sortable("win", sorted, { ...tall, class: "num win", title }, "Wins %"));
  }
  board.groups.forEach((group, index) => {
    const shown = columns.filter((column) => column.group === index).length;
    if (!shown) return;
    const total = board.columns.filter((column) => column.group === index).length;
    const th = el("th", { scope: "colgroup", colspan: shown, class: `group ${slug(group.area)}` }, el("a", { href: group.href }, group.task));
    if (group.protocol) th.append(" ", el("span", {}, group.protocol));
    if (total > 1) {
      const opened = shown === total;
      th.append(" ", el("button", {
        type: "button", class: "open", "data-open": group.key, "aria-expanded": String(opened),
        "aria-label": opened ? `Only the headline of ${group.task}` : `All ${total} metrics of ${group.task}`,
      }, opened ? "−" : `+${total - shown}`));
    }
    groups.append(th);
  });
  const metrics = el("tr", { class: "metrics" }, ...columns.map((column) =>
    sortable(column.key, sorted,
      { scope: "col", class: "num", title: column.title || null, after: column.unit ? el("small", {}, column.unit) : null },
      `${column.metric} `, el("span", { class: "arrow" }, column.lower ? "↓" : "↑"))));
  return [groups, metrics];
}

function drawCell(board, column, index) {
  const value = column.values[index];
  if (value === null) return el("td", { class: "num none" }, el("span", { class: "vh" }, "no number"));
  const place = placesOf(column)[index];
  const shade = column.total < 2 ? 0 : Math.floor((SHADES * (column.total - place)) / (column.total - 1) + 0.5);
  const better = column.better?.[index] ?? null; // how many places the rank's interval reaches up
  const [low, high] = better === null ? [] : [place - better, place + column.worse[index]];
  const kinds = ["num", `h${shade}`];
  if ((low ?? place) === 1 && column.total > 1) kinds.push("top");
  if (column.unscored[index]) kinds.push("part");
  const small = [];
  const error = column.errors?.[index] ?? null;
  if (error !== null) small.push(`±${error.toFixed(column.decimals)}`);
  if (low && column.total > 1) small.push(low === high ? `#${low}` : `#${low}–${high}`);
  if (column.marked.includes(index)) small.push("†"); // of a finetuned child, which the row's note names
  const td = el("td", { class: kinds.join(" ") }, el("b", {}, shownNumber(value, column.decimals)));
  if (small.length) td.append(el("small", {}, small.join(" ")));
  return td;
}

function shownNumber(value, decimals) {
  if (Math.abs(value) < 1e15) return value.toFixed(decimals);
  return value.toExponential(3).replace(/e([+-])(\d)$/, "e$10$2");
}

// Positions beside the rows: those of the sorted column, shared by equal values; none without one.
function positions(board, rows, state) {
  const { of } = sorting(board, state);
  let last = null;
  let place = 0;
  return rows.map((index, nth) => {
    const value = of ? of(index) : null;
    if (value === null) return "";
    if (value !== last) [last, place] = [value, nth + 1];
    return String(place);
  });
}

function drawRows(board, columns, rows, state) {
  const places = positions(board, rows, state);
  const shown = state.rows === "all" ? rows : rows.slice(0, FIRST_ROWS);
  return shown.map((index, nth) => {
    const row = board.rows[index];
    const name = el("th", { scope: "row", class: "model" }, el("a", { href: `models/${row.id}.html` }, row.name));
    if (row.note) name.append(el("small", {}, row.note));
    const tr = el("tr", {}, el("td", { class: "pos" }, places[nth]), name, el("td", { class: "num size" }, row.size));
    if (board.measured) tr.append(el("td", { class: "num win" }, row.win === null ? "" : row.win.toFixed(1)));
    tr.append(...columns.map((column) => drawCell(board, column, index)));
    return tr;
  });
}

function viewAsCsv(board, columns, rows) {
  const name = (column) => `${board.groups[column.group].task}/${column.metric}${column.unit ? ` (${column.unit})` : ""}`;
  const head = ["model", "note", "parameters", ...(board.measured ? ["wins (%)"] : []), ...columns.flatMap((column) => [name(column), `${name(column)} stderr`])];
  const lines = rows.map((index) => {
    const row = board.rows[index];
    return [row.name, row.note, row.count, ...(board.measured ? [row.win] : []), ...columns.flatMap((column) => [column.values[index], column.errors?.[index] ?? null])];
  });
  return [head, ...lines].map((line) => line.map(csvField).join(",")).join("\r\n") + "\r\n";
}
