// Every page: the token with each request of htmx, what went wrong, shortcuts and their help, times in the reader's zone.
"use strict";
(() => {
  const LETTERS = "stallwart-letters";
  const at = (id) => document.getElementById(id);
  const trouble = at("trouble"), help = at("help");
  const csrf = document.querySelector("meta[name=csrf]").content;

  function say(text) { trouble.textContent = text; trouble.hidden = !text; }
  function said(text) { try { return JSON.parse(text).error.message; } catch { return ""; } }
  document.body.addEventListener("htmx:configRequest", (event) => { event.detail.headers["X-CSRF-Token"] = csrf; });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const answer = event.detail.xhr;
    if (event.detail.successful) say("");
    else say(answer.status === 0 ? "The site cannot be reached. Nothing was changed; try again." : said(answer.responseText) || `The site answered ${answer.status}.`);
  });

  // Shortcuts: a page registers letters; they rest in fields, behind dialogs, and where a reader turned them off
  const keys = new Map();
  const on = () => localStorage.getItem(LETTERS) !== "off";
  const writes = (one) => one.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && writes(event.target)) { event.target.blur(); return; }
    if (writes(event.target) || document.querySelector("dialog[open]")) return;
    const act = keys.get(event.key);
    if (!act || (event.key.length === 1 && !on())) return;
    if (event.repeat && !act.repeats) return;
    event.preventDefault();
    act.does(event);
  });
  function shortcut(key, does, repeats = false) { keys.set(key, { does, repeats }); }
  if (at("keys")) {
    shortcut("?", () => help.showModal());
    at("keys").addEventListener("click", () => help.showModal());
  }
  at("letters").checked = on();
  at("letters").addEventListener("change", (event) => localStorage.setItem(LETTERS, event.target.checked ? "on" : "off"));

  // One menu at a time, closed by a click elsewhere and by Escape
  const menus = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("click", (event) => { for (const one of menus()) if (!one.contains(event.target)) one.open = false; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const one of menus()) { one.open = false; one.querySelector("summary").focus(); }
  });

  function local(root) {
    for (const one of root.querySelectorAll("time[datetime]")) {
      const when = new Date(one.dateTime);
      if (!Number.isNaN(when.valueOf())) {
        one.title = one.dateTime;
        one.textContent = when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
      }
    }
  }
  local(document);
  document.body.addEventListener("htmx:afterSettle", (event) => local(event.target));

  window.stallwart = { csrf, shortcut, say, said, local };
})();
