/* The page of `watch`: a list of recordings beside a viewer. They come from the server, or lie in the page itself
   (`watch --export FILE.html`): a JSON in the element with the id `matches`. */

"use strict";

(() => {
const $ = id => document.getElementById(id);
const viewer = $("viewer"), list = $("list"), kept = $("matches") && JSON.parse($("matches").textContent);
let titles = [], asked = 0, shown = 0;  // how often something was asked for, and which of it is shown

function say(text, wrong = false) {
  $("message").textContent = text;
  $("message").className = wrong ? "wrong" : "";
}

async function fetched(path) {
  const answer = await fetch(path + location.search);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

async function choose(number) {
  const mine = ++asked;
  list.value = number;
  say("loading");
  try {
    const match = kept ? kept[number].match : await fetched(`/api/rounds/${number}.json`);
    if (mine !== asked) return;  // another one was chosen in the meantime
    shown = mine;
    viewer.show(match);
    say(titles[number]);
  } catch (error) {
    if (mine === asked) say(error.message, true);
  }
}

function fill() {
  const words = $("find").value.toLowerCase().split(/\s+/), chosen = list.value;
  const found = titles.map((title, number) => new Option(title, number))
    .filter(option => words.every(word => option.text.toLowerCase().includes(word)));
  list.replaceChildren(...found);
  list.value = chosen;
}

$("find").addEventListener("input", fill);
list.addEventListener("change", () => choose(Number(list.value)));
viewer.addEventListener("finished", () => {
  const next = list.options[list.selectedIndex + 1];
  if ($("on").checked && next && shown === asked) choose(Number(next.value));
});
(async () => {
  try {
    titles = kept ? kept.map(one => one.title) : await fetched("/api/rounds.json");
    fill();
    await choose(0);
    viewer.focus();
  } catch (error) { say(error.message, true); }
})();
})();
