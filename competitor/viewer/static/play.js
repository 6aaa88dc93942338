/* The page of `play`: what is pressed, pointed at or steered becomes an action, at once and with every step that the
   server sends; competitor/viewer/play_page.py says what goes over the WebSocket. */

"use strict";

(() => {
const $ = id => document.getElementById(id);
const KEYS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1], KeyA: [2, 1], KeyW: [2, 1],
  KeyD: [2, -1], KeyS: [2, -1], Space: [3, 1]};  // place in the action, and how much
const REACH = 3, BRAKE = 0.35, DEAD = 0.15, WHEEL_STEPS = 4;
const viewer = $("viewer"), pressed = new Set();
let socket, sent = "", side = 0, paused = true, target = null, before = null, wheel = 0;

const clamp = value => Math.max(-1, Math.min(1, value));
const say = (text, wrong = false) => { $("message").textContent = text; $("message").className = wrong ? "wrong" : ""; };
const send = said => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(said)); };

function action() {
  const row = [0, 0, 0, 0];
  for (const key of pressed) row[KEYS[key][0]] += KEYS[key][1];
  for (const pad of navigator.getGamepads?.() ?? []) if (pad) {
    [pad.axes[0], -pad.axes[1], -pad.axes[2]].forEach((tilt, place) => { if (Math.abs(tilt) > DEAD) row[place] += tilt; });
    row[3] += pad.buttons.some(button => button.pressed);
  }
  if (target && before) {  // towards the point, and slower the faster it already goes there
    [0, 1].forEach(place => { row[place] += REACH * (target[place] - before.at[place]) - BRAKE * before.speed[place]; });
    row[3] += target.shoots;
  }
  row[2] += Math.sign(wheel);
  return row.map(clamp).map(value => Math.round(value * 100) / 100);
}

function act() {
  const row = action(), text = String(row);
  if (text === sent || socket.readyState !== WebSocket.OPEN) return;
  send({action: row});
  sent = text;
}

function seen(frame) {
  const at = frame.slice(3 * side, 3 * side + 2), last = before?.at ?? at;
  before = {at, speed: at.map((value, place) => 50 * (value - last[place]))};
  wheel -= Math.sign(wheel);
}

function pause(wanted) {
  if (paused !== wanted) send({paused: wanted});
  paused = wanted;
  $("pause").textContent = paused ? "go on" : "pause";
  say(paused ? "paused" : "");
}

const HEARD = {
  welcome({opponents, opponent, folder, side: mine}) {
    $("opponent").replaceChildren(...opponents.map(name => new Option(name, name)));
    $("opponent").value = opponent;
    $("side").value = side = mine;
    $("pause").disabled = false;
    say(`press space to start; rounds are kept in ${folder}`);
    viewer.focus();
  },
  begin(round) { before = null; viewer.begin(round); seen(round.round.frames.at(-1)); act(); },
  push(steps) { viewer.push(steps); seen(steps.frames.at(-1)); act(); },
  end(round) { viewer.end(round); },
  kept(file) { say(`kept as ${file}`); },
  error(line) { say(line, true); },
  stopped(line) { pause(true); say(line, true); },
};

function connect() {
  socket = new WebSocket(`${location.origin.replace("http", "ws")}/play${location.search}`);
  socket.onmessage = event => { for (const [kind, data] of Object.entries(JSON.parse(event.data))) HEARD[kind](data); };
  socket.onclose = () => {
    $("pause").disabled = true;
    if (!$("message").classList.contains("wrong")) say("the connection has ended: start `play` again and reload", true);
  };
}

addEventListener("keydown", event => {
  if (event.target.matches("select, input") || event.ctrlKey || event.altKey || event.metaKey) return;
  const starts = event.code === "Space" && paused, on = event.target.matches("button");
  if (on && (event.code === "Space" || event.code === "Enter")) return;
  if (starts || event.code === "KeyP") { if (!event.repeat) pause(!paused); event.preventDefault(); return; }
  if (!(event.code in KEYS)) return;
  target = null;
  pressed.add(event.code);
  event.preventDefault();
  act();
});
addEventListener("keyup", event => { if (pressed.delete(event.code)) act(); });
addEventListener("blur", () => { pressed.clear(); target = null; act(); });
document.addEventListener("visibilitychange", () => { if (document.hidden && !paused) pause(true); });

function point(event) {
  const spot = viewer.spot(event);
  target = spot && Object.assign(spot, {shoots: event.pointerType === "mouse" && event.buttons === 1 ? 1 : 0});
  act();
}
for (const kind of ["pointermove", "pointerdown", "pointerup"]) viewer.addEventListener(kind, point);
viewer.addEventListener("pointerleave", () => { target = null; act(); });
viewer.addEventListener("wheel", event => { wheel = -Math.sign(event.deltaY) * WHEEL_STEPS; event.preventDefault(); }, {passive: false});

for (const [id, key] of [["left", "KeyA"], ["right", "KeyD"], ["shoot", "Space"]]) {
  $(id).addEventListener("pointerdown", event => { event.target.setPointerCapture(event.pointerId); pressed.add(key); act(); });
  for (const kind of ["pointerup", "pointercancel"]) $(id).addEventListener(kind, () => { pressed.delete(key); act(); });
}
$("touch").hidden = !matchMedia("(any-pointer: coarse)").matches;
$("pause").addEventListener("click", () => { pause(!paused); viewer.focus(); });
const renew = said => { send(said); viewer.focus(); };
$("opponent").addEventListener("change", () => { say("loading"); renew({opponent: $("opponent").value}); });
$("side").addEventListener("change", () => { side = Number($("side").value); renew({side}); });
$("speed").addEventListener("input", () => {
  $("times").textContent = Number($("speed").value).toFixed(1);
  send({speed: Number($("speed").value)});
});
connect();
})();
