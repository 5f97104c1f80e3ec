"use strict";
// What the table shows, kept in the address after #, so that a view can be linked and gone back to.
const STATE_DEFAULTS = {
  board: "", preset: "overview", open: "", sort: "", order: "", find: "",
  size: "", kind: "", tag: "", complete: "", errors: "", rows: "",
};

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = { ...STATE_DEFAULTS };
  for (const name of Object.keys(state)) {
    if (given.has(name)) state[name] = given.get(name);
  }
  return state;
}

function writeState(state) {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== STATE_DEFAULTS[name]) kept.set(name, value);
  }
  const hash = kept.toString();
  const url = hash ? `#${hash}` : location.pathname + location.search;
  history.replaceState(null, "", url);
}
