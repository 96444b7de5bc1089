// What a reader of screens, or one with weak eyes, stumbles over; contrast after WCAG 2.2, 1.4.3.
(() => {
  const found = [];
  const shown = (one) => one.checkVisibility({ visibilityProperty: true });
  const all = (what) => [...document.querySelectorAll(what)].filter(shown);
  const label = (one) => one.getAttribute("aria-label") || "";
  const name = (one) => (one.labels?.[0] || one).textContent.trim() || label(one);

  for (const one of all("button, input, textarea, select, a[href], summary")) {
    if (!name(one)) found.push(`no name: ${one.outerHTML}`);
  }
  for (const one of document.querySelectorAll("input, textarea")) {
    if (!one.labels.length) found.push(`no label: ${one.id}`);
  }
  for (const one of all("svg[role=img], [role=group], section[aria-labelledby], dialog")) {
    if (!label(one) && !document.getElementById(one.getAttribute("aria-labelledby"))) found.push(`no name: ${one.id}`);
  }
  for (const one of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    const named = [one.getAttribute("aria-labelledby"), one.getAttribute("aria-describedby")].filter(Boolean);
    for (const id of named) if (!document.getElementById(id)) found.push(`names nothing: ${id}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) found.push(`twice: ${id}`);

  if (all("h1").length !== 1) found.push(`h1: ${all("h1").length}`);
  let level = 1;
  for (const one of all("h1, h2, h3, h4")) {
    const here = Number(one.tagName[1]);
    if (here > level + 1) found.push(`skips a level: ${one.textContent}`);
    level = here;
  }
  for (const one of document.querySelectorAll("th")) if (!one.scope) found.push(`no scope: ${one.textContent}`);
  if (!document.documentElement.lang || all("main").length !== 1) found.push("no language, or no one main");
  for (const one of all("button, summary")) {
    if (one.getBoundingClientRect().height < 24) found.push(`small: ${one.textContent}`);
  }

  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  for (const one of all("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!text || one.closest("svg, :disabled, .skip")) continue;
    const pair = [light(getComputedStyle(one).color), light(behind(one))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) found.push(`faint ${ratio.toFixed(2)}: ${one.textContent.slice(0, 40)}`);
  }
  return found;
})()
