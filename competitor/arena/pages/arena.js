/* The arena's pages: live boards and fresh tables from server-sent events, replays, the search as one types. */

"use strict";

(() => {
const REFRESH_MS = 5000;  // between two looks at the tables
const LINGER_MS = 1500;  // a board shows the end of a match for so long; by then its recording is written
const boards = new Map([...document.querySelectorAll("[data-board]")].map(viewer => [viewer.dataset.board, viewer]));
let dueAt = 0, timer, source;

async function refresh() {
  timer = undefined;
  dueAt = performance.now() + REFRESH_MS;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (now && now.innerHTML !== old.innerHTML && !old.contains(document.activeElement)) old.innerHTML = now.innerHTML;
    }
  } catch { /* the arena is closed; the next event comes when it is open again */ }
}

function refreshSoon() { timer ??= setTimeout(refresh, Math.max(0, dueAt - performance.now())); }

function display(viewer, isShown) {
  const figure = viewer.closest("figure");
  if (!figure) return;
  figure.hidden = !isShown;
  const all = figure.parentElement;
  all.hidden = [...all.children].every(one => one.hidden);
}

const act = {
  begin(viewer, data) {
    clearTimeout(viewer.ending);
    display(viewer, true);
    viewer.begin(data);
    const figure = viewer.closest("figure");
    if (!figure) return;
    const watch = figure.querySelector(".watch");
    watch.href = `/matches/${data.match}`;
    watch.setAttribute("aria-label", `watch ${data.names.join(" against ")}`);
    figure.querySelector(".round").textContent = `round ${data.number} of ${data.of}`;
  },
  push(viewer, data) { viewer.push(data); },
  end(viewer, data) { viewer.end(data); },
  over(viewer) {
    viewer.ending = setTimeout(() => viewer.closest("figure") ? display(viewer, false) : location.reload(), LINGER_MS);
  },
  clear(viewer) { if (viewer.closest("figure")) display(viewer, false); else act.over(viewer); },
};

function follow(url) {
  source?.close();
  source = new EventSource(url);
  for (const kind of Object.keys(act)) source.addEventListener(kind, event => {
    const data = JSON.parse(event.data), viewer = boards.get(data.board);
    if (viewer) act[kind](viewer, data);
  });
  source.addEventListener("changed", refreshSoon);
  source.onerror = () => {  // a browser gives up when it is refused; else it tries again by itself
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 10000, url);
  };
}

function followWhileSeen() {  // a browser has six connections for all of its windows with this page
  if (document.hidden) source?.close();
  else { follow(document.body.dataset.events); refreshSoon(); }
}

if (document.body.dataset.events) {
  if (!document.hidden) follow(document.body.dataset.events);
  document.addEventListener("visibilitychange", followWhileSeen);
  setInterval(() => document.hidden || refreshSoon(), 60000);  // the ages of results
}

for (const viewer of document.querySelectorAll("[data-replay]")) fetch(viewer.dataset.replay)
  .then(answer => answer.json()).then(match => viewer.show(match)).catch(() => viewer.replaceWith("The recording is gone."));

const search = document.querySelector("input[type=search]");
search?.addEventListener("input", () => {
  history.replaceState(null, "", search.value ? `?q=${encodeURIComponent(search.value)}` : location.pathname);
  clearTimeout(search.waiting);
  search.waiting = setTimeout(refresh, 200);
});
})();
