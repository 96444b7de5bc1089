// The live page: asks for the key, fetches the panel, and sends acts. All data comes as HTML from the service.
"use strict";
(() => {
  const EVERY_MS = 2000, OLD_MS = 10000, KEY = "stallwart-key", LETTERS = "stallwart-letters";
  const at = (id) => document.getElementById(id);
  const panel = at("panel"), trouble = at("trouble"), ask = at("ask"), act = at("act"), help = at("help"), state = at("state");
  const WORDS = {
    advance: ["Advance to the next step?", "It goes on whatever the step still lacks; the guards go on watching.", "Advance"],
    hold: ["Hold it here?", "It stays at this step until somebody resumes it. Guards still roll it back.", "Hold"],
    resume: ["Let it go on?", "It moves on by itself again once the step has what it needs.", "Resume"],
    abort: ["Abort the rollout?", "The champion decides everything again, at once. This challenger needs a new rollout to come back.", "Abort"],
    promote: ["Promote the challenger?", "It decides everything from now on, and the guards stop watching.", "Promote"],
  };
  const ACTS = { a: "advance", h: "hold", r: "resume", x: "abort", p: "promote" };
  let updated = 0, timer = 0, wait = EVERY_MS, doing = null;

  const key = () => sessionStorage.getItem(KEY);
  const facts = () => (at("facts") || { dataset: {} }).dataset;
  const headers = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

  // Polling: one request at a time, slower while the service refuses, none while the tab is hidden
  const next = (ms) => { clearTimeout(timer); timer = setTimeout(look, ms); };
  function look() {
    if (document.hidden || !ask.hidden) return;
    htmx.trigger(panel, "look");
    next(Math.max(wait, EVERY_MS) + 10000); // in case that nothing comes back
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

  document.body.addEventListener("htmx:configRequest", (event) => {
    Object.assign(event.detail.headers, headers());
    const rollout = new URLSearchParams(location.search).get("rollout_id");
    if (rollout) event.detail.parameters.rollout_id = rollout;
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt !== panel) return;
    const answer = event.detail.xhr;
    wait = EVERY_MS;
    if (answer.status === 200) succeeded();
    else failed(answer.status, said(answer.responseText), Number(answer.getResponseHeader("retry-after")));
    next(wait);
  });

  function succeeded() {
    updated = Date.now();
    trouble.hidden = true;
    panel.setAttribute("aria-busy", "false");
    at("forget").hidden = !key();
    document.title = `${facts().title || "No rollout"} · Stallwart`;
    age();
  }
  function failed(status, message, seconds) {
    wait = Math.max(5000, (seconds || 0) * 1000);
    if (status === 401 || status === 403) askKey(status, message);
    else say(status === 0 ? "The service cannot be reached. What is below is the last that was seen; it is asked again."
      : status === 503 ? `The service or its database does not answer: ${message} It is asked again.`
      : `${message || `The service answered ${status}.`} It is asked again.`);
    age();
  }
  function said(text) {
    try { return JSON.parse(text).error.message; } catch { return ""; }
  }
  function say(text) { if (trouble.textContent !== text) trouble.textContent = text; trouble.hidden = false; }
  function age() {
    const seconds = Math.round((Date.now() - updated) / 1000), old = updated && Date.now() - updated > OLD_MS;
    const text = !updated || !ask.hidden ? "" : old ? `Last update ${seconds} s ago` : "Live";
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("refused", Boolean(old));
  }
  setInterval(age, 5000);

  // The key stays in this tab
  function askKey(status, message) {
    const had = key();
    sessionStorage.removeItem(KEY);
    panel.replaceChildren();
    if (act.open) act.close();
    if (had) say(status === 403 ? `This key may not look: ${message}.` : `${message}.`);
    ask.hidden = false;
    at("forget").hidden = true;
    at("key").value = "";
    at("key").focus();
  }
  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, at("key").value.trim());
    at("key").value = "";
    ask.hidden = true;
    trouble.hidden = true;
    panel.focus();
    look();
  });
  at("forget").addEventListener("click", () => { sessionStorage.removeItem(KEY); location.reload(); });

  // Acts: the dialog is outside the panel, so that no poll touches what is typed
  function open(name) {
    const button = at(`do-${name}`), told = facts();
    if (!button) return;
    if (button.disabled) { state.textContent = `Cannot ${name}: ${button.dataset.against}`; return; }
    if (!doing || doing.name !== name) { at("why").value = ""; }
    doing = { name, version: Number(told.version) };
    const [title, what, verb] = WORDS[name], ends = name === "abort" || name === "promote";
    at("act-title").textContent = title;
    at("act-what").textContent = what;
    at("act-do").textContent = verb;
    at("act-do").disabled = false;
    at("act-do").classList.toggle("danger", ends);
    at("sure-line").hidden = !ends;
    at("sure").required = ends;
    at("sure").checked = false;
    at("sure-label").textContent = name === "abort" ? `Yes, give everything back to ${told.champion}.` : `Yes, give everything to ${told.challenger}.`;
    at("force-line").hidden = !(name === "promote" && told.answered === "no");
    at("force").checked = false;
    at("act-refused").hidden = true;
    act.showModal();
    at("why").focus();
  }
  async function send() {
    const body = { why: at("why").value, version: doing.version };
    if (doing.name === "promote" && at("force").checked) body.force = true;
    at("act-do").disabled = true;
    try {
      const answer = await fetch(`/v1/rollout:${doing.name}`, {
        method: "POST",
        headers: { ...headers(), "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(15000),
      });
      if (answer.ok) { doing = null; act.close(); look(); return; }
      refuse(`Refused: ${said(await answer.text()) || `the service answered ${answer.status}`}.`);
    } catch {
      refuse("The service did not answer, so it is not known whether this was done. Look at the moves before trying again.");
    }
    look();
  }
  function refuse(text) {
    at("act-refused").textContent = text;
    at("act-refused").hidden = false;
    at("act-do").disabled = false;
  }
  at("act-form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  at("act-cancel").addEventListener("click", () => act.close());
  panel.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) open(button.dataset.act);
  });

  // Shortcuts
  const on = () => localStorage.getItem(LETTERS) !== "off";
  at("letters").checked = on();
  at("letters").addEventListener("change", (event) => localStorage.setItem(LETTERS, event.target.checked ? "on" : "off"));
  at("keys").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || act.open || help.open || !on()) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === "?") help.showModal();
    else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    else if (ACTS[event.key]) open(ACTS[event.key]);
    else return;
    event.preventDefault();
  });
  function step(by) {
    const heads = [...panel.querySelectorAll("#guards summary")].filter((one) => one.checkVisibility());
    const place = heads.indexOf(document.activeElement);
    const to = heads[place < 0 ? (by > 0 ? 0 : heads.length - 1) : Math.min(heads.length - 1, Math.max(0, place + by))];
    if (to) { to.focus(); to.scrollIntoView({ block: "nearest" }); }
  }

  // Only what changed is swapped; what a reader unfolded stays so, and times are in the reader's own zone
  function local(root) {
    for (const one of root.querySelectorAll ? [root, ...root.querySelectorAll("time")] : []) {
      if (one.tagName === "TIME") one.textContent = new Date(one.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    }
  }
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeAdded: (node) => { local(node); },
    beforeNodeMorphed: (_, node) => { if (node.tagName === "TIME") local(node); },
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
  });
  document.addEventListener("DOMContentLoaded", look); // after htmx, which asked for this before, knows the panel
})();
