"use strict";
for (const block of document.querySelectorAll(".gallery-block")) {
  const form = block.querySelector(".filters");
  const entries = [...block.querySelectorAll(".entry")];
  const count = block.querySelector(".count");
  const none = block.querySelector(".none");
  const everything = count.textContent;
  const apply = () => {
    const wanted = new FormData(form);
    const verdict = wanted.get("verdict") || "";
    const group = wanted.get("group") || "";
    const words = (wanted.get("find") || "").toLowerCase().trim();
    let shown = 0;
    for (const entry of entries) {
      const fits =
        (!verdict || entry.dataset.verdict === verdict) &&
        (!group || entry.dataset.group === group) &&
        (!words || entry.textContent.toLowerCase().includes(words));
      entry.hidden = !fits;
      shown += fits;
    }
    none.hidden = shown > 0;
    count.textContent =
      shown === entries.length ? everything : `${shown} of the ${entries.length} outputs on this page match.`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
