// Keeps the page true while one looks at it: the server tells that something is new, and what is in <main> is fetched
// again and fitted in. Without this script the page can be read all the same.
"use strict";
(() => {
  const main = document.getElementById("main");
  const link = document.getElementById("link");
  const said = document.getElementById("said");
  const app = (location.pathname.match(/^\/apps\/([^/]+)/) || [])[1] || "";
  const PAUSE_MS = 400;
  let source = null;
  let timer = 0;
  let isFetching = false;
  let isStale = false;

  // --- what is new ---

  function refreshSoon() {
    isStale = true;
    if (!timer && !isFetching) timer = setTimeout(refresh, PAUSE_MS);
  }

  async function refresh() {
    timer = 0;
    isFetching = true;
    isStale = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.title = fresh.title;
        fit(main, fresh.getElementById("main"));
        keepTime();
      }
    } catch {
      // The event source notices too, and says so.
    }
    isFetching = false;
    if (isStale) refreshSoon();
  }

  // Browsers hold few connections to a server: a page that nobody sees gives its own back.
  function follow() {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else if (!source && window.EventSource) {
      source = new EventSource("/events");
      source.onopen = () => {
        show("live", "follows live");
        refreshSoon();
      };
      source.onerror = () => show("lost", "connection lost, trying again");
      source.onmessage = (message) => {
        const event = JSON.parse(message.data);
        if (app && event.app !== app) return;
        if (event.say) said.textContent = event.say;
        refreshSoon();
      };
    }
  }

  function show(state, words) {
    link.className = "link " + state;
    link.textContent = words;
  }

  // --- fitting in: what is the same stays, with focus, scroll position and selection ---

  function fit(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const node of fresh.childNodes) {
      const known = node.id ? byId.get(node.id) : isAlike(at, node) ? at : null;
      if (!known) old.insertBefore(document.importNode(node, true), at);
      else {
        if (known === at) at = at.nextSibling;
        else old.insertBefore(known, at);
        fit(known, node);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function isAlike(old, fresh) {
    return old && old.nodeName === fresh.nodeName && !old.id && old.className === fresh.className;
  }

  // --- how long ago; in step with words.py ---

  const UNITS = [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"], [0, 1, "s"]];

  function ageWords(seconds) {
    if (seconds < 5) return "just now";
    const [, size, unit] = UNITS.find(([least]) => seconds >= least);
    return `${Math.floor(seconds / size)} ${unit} ago`;
  }

  function keepTime() {
    for (const element of document.querySelectorAll("time.age")) {
      const moment = new Date(element.dateTime);
      const words = ageWords(Math.max(0, (Date.now() - moment) / 1000));
      if (element.textContent !== words) element.textContent = words;
      element.title = moment.toLocaleString();
    }
  }

  setInterval(keepTime, 10000);
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => source && source.close());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) {
      source = null;
      follow();
    }
  });
  keepTime();
  follow();
})();
