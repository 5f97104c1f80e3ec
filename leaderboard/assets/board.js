"use strict";
// The controls of the first page: they change the state, and the state draws the table.
(() => {
  const boards = JSON.parse(document.getElementById("data").textContent);
  const form = document.querySelector(".controls");
  if (!boards.length || !form) return;
  const status = document.querySelector(".count");
  const section = (board) => document.getElementById(`board-${board.kind}`);
  let state = readState();

  const current = () => boards.find((board) => board.kind === state.board) ?? boards[0];

  function change(changes) {
    state = { ...state, ...changes };
    writeState(state);
    draw();
  }

  function options(select, values, chosen) {
    select.replaceChildren(el("option", { value: "" }, "any"), ...values.map((value) => el("option", { value }, value)));
    select.value = values.includes(chosen) ? chosen : "";
    select.closest("label").hidden = values.length < 2 && !select.value;
  }

  function fillControls(board) {
    form.elements.board.value = board.kind;
    form.elements.find.value = state.find;
    form.elements.complete.checked = state.complete !== "";
    form.elements.errors.checked = state.errors !== "off";
    form.elements.errors.closest("label").hidden = !board.measured;
    const sizes = SIZES.filter(([, low, high]) => board.rows.some((row) => row.count !== null && low <= row.count && row.count < high));
    options(form.elements.size, sizes.map(([name]) => name), state.size);
    options(form.elements.kind, [...new Set(board.rows.map((row) => row.kind))].filter(Boolean).sort(), state.kind);
    options(form.elements.tag, [...new Set(board.rows.flatMap((row) => row.tags))].sort(), state.tag);
    form.querySelector(".kind-name").textContent = board.measured ? "Kind" : "Source";
    const presets = ["overview", ...board.areas];
    const radios = presets.map((name) =>
      el("label", {}, el("input", { type: "radio", name: "preset", value: name }), el("span", {}, name)));
    form.querySelector(".presets").replaceChildren(...radios);
    form.elements.preset.value = state.preset;
  }

  function remembered() {
    const active = document.activeElement;
    if (!active || active === document.body) return null;
    for (const [name, value] of Object.entries(active.dataset)) return `[data-${name}="${CSS.escape(value)}"]`;
    return active.name === "preset" ? `[name="preset"][value="${CSS.escape(active.value)}"]` : null;
  }

  function draw() {
    const board = current();
    if (state.preset !== "overview" && !board.areas.includes(state.preset)) state.preset = "overview";
    const focus = remembered();
    const columns = columnsOf(board, state);
    const rows = rowsOf(board, columns, state);
    for (const each of boards) section(each).hidden = each !== board;
    const place = section(board);
    place.querySelector("thead").replaceChildren(...drawHead(board, columns, state));
    place.querySelector("tbody").replaceChildren(...drawRows(board, columns, rows, state));
    place.querySelector("table").classList.toggle("bare", state.errors === "off");
    const more = place.querySelector(".more button");
    more.hidden = state.rows === "all" || rows.length <= FIRST_ROWS;
    more.textContent = `Show all ${rows.length.toLocaleString("en")}`;
    fillControls(board);
    status.textContent = told(board, columns, rows);
    if (focus) (place.querySelector(focus) ?? form.querySelector(focus))?.focus();
  }

  function told(board, columns, rows) {
    const sorted = sorting(board, state);
    const count = rows.length === board.rows.length ? `${rows.length}` : `${rows.length} of ${board.rows.length}`;
    const names = { win: "wins", name: "name", size: "size", "": "numbers known" };
    const by = sorted.column ? `${board.groups[sorted.column.group].task} ${sorted.column.metric}` : names[sorted.key];
    const way = sorted.column || sorted.key === "win" ? (sorted.descending === sorted.best ? "best first" : "worst first") : sorted.descending ? "descending" : "ascending";
    const order = sorted.key ? `${by}, ${way}` : `most ${by} first`;
    return `${Number(count) === 1 ? "1 model" : `${count} models`}, ${columns.length} columns; by ${order}.`;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const { name, value, checked } = event.target;
    if (name === "board") change({ board: value === boards[0].kind ? "" : value, sort: "", order: "", open: "", rows: "", size: "", kind: "", tag: "" });
    else if (name === "preset") change({ preset: value, open: "" });
    else if (name === "complete") change({ complete: checked ? "1" : "" });
    else if (name === "errors") change({ errors: checked ? "" : "off" });
    else if (name) change({ [name]: value });
  });
  form.querySelector(".export").addEventListener("click", () => {
    const board = current();
    const columns = columnsOf(board, state);
    download(`leaderboard-${board.kind}.csv`, viewAsCsv(board, columns, rowsOf(board, columns, state)));
  });
  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("sort" in button.dataset) {
      const key = button.dataset.sort;
      const sorted = sorting(current(), state);
      const again = sorted.key === key;
      const best = sorting(current(), { ...state, sort: key, order: "" }).best;
      const descending = again ? !sorted.descending : best;
      change({ sort: key, order: descending === best ? "" : descending ? "desc" : "asc" });
    } else if ("open" in button.dataset) {
      const turned = new Set(state.open.split(",").filter(Boolean));
      if (!turned.delete(button.dataset.open)) turned.add(button.dataset.open);
      change({ open: [...turned].sort().join(",") });
    } else if (button.parentElement.classList.contains("more")) {
      change({ rows: "all" });
    }
  });
  addEventListener("hashchange", () => {
    state = readState();
    draw();
  });

  form.querySelector(".filters").open = matchMedia("(min-width: 44rem)").matches;
  form.hidden = false;
  draw();
  document.documentElement.dataset.ready = "";
})();
