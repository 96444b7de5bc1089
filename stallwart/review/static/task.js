// The desk: one task is shown, the next one waits in the page. A key shows it at once, and the answer goes out behind it.
"use strict";
(() => {
  const { csrf, shortcut, say, said, local } = window.stallwart;
  const GREY = "stallwart-grey", LOOK_MS = 5000;
  const at = (id) => document.getElementById(id);
  const desk = at("desk"), waiting = at("waiting"), empty = at("empty"), told = at("told"), zoom = at("zoom");
  const current = () => desk.querySelector(".task");
  const done = desk.dataset.done === "1";
  let chain = Promise.resolve(), looking = 0, ready = false;

  const tasks = () => [...document.querySelectorAll(".task")].map((one) => one.dataset.task);
  const tell = (text) => { told.textContent = text; };

  // Every request goes after the one before it: an answer first, then its undo
  function send(url, form = new FormData()) {
    const asked = chain.then(async () => {
      for (const id of tasks()) form.append("have", id);
      const answer = await fetch(url, {
        method: "POST", body: new URLSearchParams(form),
        headers: { "X-CSRF-Token": csrf, "HX-Request": "true" }, signal: AbortSignal.timeout(20000),
      });
      const to = answer.headers.get("hx-redirect");
      if (to) { location.assign(to); return ""; }
      const text = await answer.text();
      if (!answer.ok) throw Object.assign(new Error(said(text) || `The site answered ${answer.status}.`), { status: answer.status });
      return text;
    });
    chain = asked.catch(() => {});
    return asked;
  }

  function made(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const card = holder.content.querySelector(".task");
    if (!card || tasks().includes(card.dataset.task)) return null;
    return card;
  }
  function prepare(card) { htmx.process(card); local(card); }
  function queue(html, first = false) {
    const card = html ? made(html) : null;
    if (card) { if (first) waiting.prepend(card); else waiting.append(card); prepare(card); }
    if (!current()) show();
    else if (!card) looking = setTimeout(ask, LOOK_MS);
  }
  function show() {
    const card = waiting.querySelector(".task");
    if (card) {
      desk.replaceChildren(card);
      card.querySelector(".title").focus({ preventScroll: true });
      scrollTo(0, 0);
    } else desk.replaceChildren();
    empty.hidden = Boolean(card);
    document.dispatchEvent(new CustomEvent("stallwart:shown", { detail: card ? card.dataset.task : null }));
    if (!card) looking = setTimeout(ask, LOOK_MS);
  }
  // One task beside the one that is shown; asked again while there is none
  function ask() {
    clearTimeout(looking);
    if (done || document.hidden || waiting.querySelector(".task")) return;
    send("/tasks/take").then((html) => { ready = true; queue(html); }).catch((err) => { say(err.message); looking = setTimeout(ask, LOOK_MS); });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { renew(); ask(); } });

  function answer(card, url, form, words) {
    if (!card || card.classList.contains("is-lost")) return;
    clearTimeout(looking);
    say("");
    card.remove();
    show();
    tell(words);
    send(url, form).then((html) => queue(html)).catch((err) => failed(card, err));
  }
  function failed(card, err) {
    if (err.status && err.status !== 503 && err.status !== 422) { say(`Your last answer was not kept. ${err.message}`); tell(""); ask(); return; }
    // It may be tried again: it is the next one, as it was filled in
    const shown = current();
    if (shown) waiting.prepend(shown);
    waiting.prepend(card);
    show();
    say(`Your last answer was not kept, and is here again. ${err.status ? err.message : "The site cannot be reached."}`);
    tell("");
  }

  const form = (card) => card.querySelector(".judge");
  // Nothing is allowed unseen, and nothing is said unseen that has no words: the first press shows the photos
  const photos = (card) => card.querySelector(".judge input[name=photos]");
  const titles = (card) => [...card.querySelectorAll(".choice:has(input:checked) .name")].map((one) => one.textContent).join(", ");
  const unseen = (card) => photos(card)?.value === "";
  function shows(card) {
    if (!unseen(card)) return false;
    see();
    card.querySelector(".photos").scrollIntoView({ block: "nearest" });
    tell("Its photos were not shown yet. Look at them, and press again.");
    return true;
  }
  function allow() {
    const card = current();
    if (!card || done || shows(card)) return;
    const fields = new FormData(form(card));
    fields.delete("policy");
    fields.set("allow", "1");
    answer(card, form(card).action, fields, "Allowed. U undoes it.");
  }
  function violates() {
    const card = current();
    if (!card || done) return;
    const fields = new FormData(form(card)), broken = marked(fields);
    if (!broken.length) { say("Mark what it breaks by its digit, or press A where it breaks nothing."); return; }
    if ("alone" in (photos(card)?.dataset ?? {}) && shows(card)) return;
    answer(card, form(card).action, fields, `Breaks ${titles(card)}${unseen(card) ? ", its photos unseen" : ""}. U undoes it.`);
  }
  function undo() {
    clearTimeout(looking);
    send("/tasks/undo").then((html) => {
      const card = made(html), shown = current();
      if (!card) return;
      if (shown) waiting.prepend(shown);
      waiting.prepend(card);
      prepare(card);
      show();
      say("");
      tell("Undone: here it is again.");
    }).catch((err) => say(err.message));
  }
  function open(name) { const box = current() && current().querySelector(`dialog[data-for=${name}]`); if (box && !done) { box.showModal(); const first = box.querySelector("textarea, input:checked"); if (first) first.focus(); } }
  const marked = (fields) => fields.getAll("policy");
  function gild() {
    const card = current(), words = card && card.querySelector("dialog[data-for=gold] .marked");
    if (words && shows(card)) return;
    if (words) words.textContent = marked(new FormData(form(card))).join(", ") || "nothing";
    open("gold");
  }
  function release() { const card = current(); if (card && !done) send(`/tasks/${card.dataset.task}/release`).catch((err) => say(err.message)); }

  // Photos
  function looked(card) { if (photos(card)) photos(card).value = "seen"; }
  function see() { const card = current(); if (card && card.classList.toggle("seen")) looked(card); }
  function grey() { const on = document.body.classList.toggle("grey"); localStorage.setItem(GREY, on ? "on" : "off"); zoom.classList.toggle("grey", on); }
  let pictures = [], place = 0;
  function large(step = 0) {
    place = (place + step + pictures.length) % pictures.length;
    zoom.querySelector("img").src = pictures[place].src;
    zoom.querySelector("img").alt = pictures[place].alt;
  }
  function enlarge(from) {
    pictures = [...(current() || document).querySelectorAll(".photo img")];
    place = Math.max(0, pictures.indexOf(from));
    if (!pictures.length) return;
    if (current()) looked(current());
    large();
    if (!zoom.open) zoom.showModal();
  }
  document.body.classList.toggle("grey", localStorage.getItem(GREY) === "on");
  zoom.classList.toggle("grey", localStorage.getItem(GREY) === "on");
  zoom.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") { large(event.key === "ArrowRight" ? 1 : -1); event.preventDefault(); }
    else if (event.key === "g") grey();
    else if (event.key === "z") zoom.close();
  });
  zoom.addEventListener("click", (event) => { const step = event.target.dataset.zoom; if (step) large(Number(step)); });

  const DONE = { skip: "Skipped.", escalate: "Escalated to a lead.", gold: "It is gold now. U undoes it." };
  const ACTS = { allow, violates, see, grey, zoom: () => enlarge(null), skip: () => open("skip"), escalate: () => open("escalate"), gold: gild, release, close: () => { for (const box of document.querySelectorAll("dialog[open]")) box.close(); } };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]"), photo = event.target.closest(".photo");
    if (button) { event.preventDefault(); ACTS[button.dataset.do](); }
    else if (photo && current()) { if (current().classList.contains("seen")) enlarge(photo.querySelector("img")); else see(); }
  });
  document.addEventListener("submit", (event) => {
    const box = event.target.closest("dialog.ask");
    if (event.target.id === "undo") { event.preventDefault(); undo(); }
    else if (box) {
      event.preventDefault();
      const fields = new FormData(event.target);
      box.close();
      if (box.dataset.for === "gold") {
        for (const [name, value] of new FormData(form(current()))) fields.append(name, value);
        if (!marked(fields).length) fields.set("allow", "1");
      }
      answer(current(), event.target.action, fields, DONE[box.dataset.for]);
    } else if (event.target.matches(".judge")) { event.preventDefault(); violates(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest(".judge")) { event.preventDefault(); event.target.blur(); violates(); return; }
    const box = event.target.closest("dialog.ask[open]");
    if (box && /^[1-9]$/.test(event.key) && !event.target.closest("textarea")) { const choices = box.querySelectorAll("input[type=radio]"), choice = choices[Number(event.key) - 1]; if (choice) { choice.checked = true; choice.focus(); } }
  });
  for (const digit of "1234567890") shortcut(digit, () => { const one = current() && current().querySelector(`.choice input[data-key="${digit}"]`); if (one) one.checked = !one.checked; });
  for (const letter of "lmh") shortcut(letter, () => { const one = current() && current().querySelector(`.severity input[data-key="${letter}"]`); if (one) one.checked = !one.checked; });
  shortcut("a", allow);
  shortcut("Enter", (event) => { const on = event.target.closest("button, a, summary"); if (on) on.click(); else violates(); });
  shortcut("u", undo);
  shortcut("s", () => open("skip"));
  shortcut("e", () => open("escalate"));
  shortcut("k", gild);
  shortcut("r", release);
  shortcut("v", see);
  shortcut("g", grey);
  shortcut("z", () => enlarge(null));
  shortcut("n", () => { const note = current() && current().querySelector("textarea[name=note]"); if (note) note.focus(); });
  shortcut("p", () => { const one = current() && current().querySelector(".choice input"); if (one) one.focus(); });
  shortcut("d", () => { const rest = current() && current().querySelector(".rest"); if (rest) rest.open = !rest.open; });

  // Leases: begun anew while the page is open and seen; what was lost is said, and cannot be answered
  async function renew() {
    const ids = tasks();
    if (done || !ids.length) return;
    try {
      const { lost } = JSON.parse(await send("/tasks/renew") || "{\"lost\": {}}");
      for (const [id, why] of Object.entries(lost)) lose(id, why);
    } catch (err) { say(`Your tasks could not be kept for you. ${err.message}`); }
  }
  function lose(id, why) {
    const card = document.querySelector(`.task[data-task="${CSS.escape(id)}"]`);
    if (!card) return;
    if (card.parentElement === waiting) { card.remove(); ask(); return; }
    card.classList.add("is-lost");
    const note = card.querySelector(".lost");
    note.textContent = `${why[0].toUpperCase()}${why.slice(1)}.`;
    note.hidden = false;
    for (const button of card.querySelectorAll(".answers button")) button.disabled = true;
    const next = document.createElement("button");
    next.type = "button";
    next.textContent = "Take the next one";
    next.addEventListener("click", () => { card.remove(); show(); ask(); });
    note.append(" ", next);
    next.focus();
  }
  setInterval(renew, Number(desk.dataset.renewMs));
  addEventListener("online", renew);
  addEventListener("beforeunload", (event) => { if (document.querySelector(".judge textarea[name=note]")?.value) event.preventDefault(); });
  if (!done) ask();
  window.stallwart.desk = { renew, isReady: () => ready, waits: () => waiting.childElementCount };
})();
