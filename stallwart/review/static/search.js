// Search: keys through what was found, photos that are shown when asked, how many are chosen.
"use strict";
(() => {
  const { shortcut } = window.stallwart;
  const hits = () => [...document.querySelectorAll(".hit")];
  const here = () => document.activeElement.closest(".hit");
  const boxes = () => [...document.querySelectorAll(".hit input[name=pick]")];
  const chosen = document.getElementById("chosen");

  function go(step) {
    const all = hits(), at = all.indexOf(here());
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  }
  function count() { if (chosen) chosen.value = boxes().filter((one) => one.checked).length; }
  function show(veil) { veil.setAttribute("aria-pressed", String(veil.getAttribute("aria-pressed") !== "true")); }
  function inHit(selector, does) { const one = here()?.querySelector(selector); if (one) does(one); }

  document.addEventListener("click", (event) => { const veil = event.target.closest(".veil"); if (veil) show(veil); });
  document.addEventListener("change", count);
  shortcut("/", () => document.getElementById("words")?.focus());
  shortcut("j", () => go(1), true);
  shortcut("k", () => go(-1), true);
  shortcut("x", () => { inHit("input[name=pick]", (one) => { one.checked = !one.checked; }); count(); });
  shortcut("a", () => { const all = boxes(), on = !all.every((one) => one.checked); for (const one of all) one.checked = on; count(); });
  shortcut("b", () => inHit(".veil", show));
  shortcut("l", () => inHit("a[href*='near=']", (one) => one.click()));
  shortcut("n", () => document.getElementById("onward")?.click());
  count();
})();
