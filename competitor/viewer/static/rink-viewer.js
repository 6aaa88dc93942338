/* <rink-viewer>: draws rounds of laser hockey. Plain JavaScript, needs nothing else; a page only loads this file.

A match, as the viewer takes it (competitor/viewer/match_json.py makes it):

  match   {names: [left, right], rounds: [round, ...]}
  round   {frames, actions, score, winner, mind?}
    frames   T + 1 rows [x, y, angle of the left racket, x, y, angle of the right one, x, y of the puck,
             steps for which the left, the right player can still hold it]: units of 60 pixels from the centre,
             y up, angles in radians
    actions  [left, right]: T rows [push x, push y, turn, shoot] in the player's own frame (the right player sees the
             rink turned by 180 degrees), or null: not known
    score    [left, right] before the round
    winner   1 left, -1 right, 0 a draw, null: not known, or not over yet
    mind     {side: 0 left or 1 right, value: T + 1 numbers, dreams: T + 1 times 15 rows, the first 8 of a frame}

A whole match:     viewer.show(match)         and, of several rounds, viewer.chooseRound(1)
Step by step:      viewer.begin({names, round, number, of})     a round so far, for example with one frame only
                   viewer.push({frames, actions})                steps that were played since, rows as above
                   viewer.end({winner})                          the round is over

Attributes: `compact` shows names, score and rink only; `paused` starts without playing; `instant` is for
playing: what is pushed is shown at once, not at an even pace, and there is no bar and no keys.
To read: viewer.spot(event), where on the rink a pointer is; viewer.step, viewer.steps, viewer.playing,
viewer.roundIndex. Event: `finished`, when the last round was played to its end.
Keys: space plays and pauses, arrows step (with shift by ten), Home and End, + and - speed, n and p rounds, d dreams. */

"use strict";

(() => {
const STEPS_PER_S = 50, MOST_STEPS = 251, TRAIL = 40, LATE = 25, PAUSE_STEPS = 40;
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const UNIT = 60, WIDTH = 600, HEIGHT = 480;
const RACKET = [[-10, 20], [5, 20], [5, -20], [-10, -20], [-18, -10], [-21, 0], [-18, 10]].map(([x, y]) => [1.2 * x, 1.2 * y]);
const END_WALL = [[-10, 135], [10, 128], [10, -5], [-10, -5]];
const LIGHT = {surround: "#262d38", boards: "#606c7a", ice: "#f0f5f9", line: "#c5d0db", puck: "#1c1e22", blade: "#b07800",
  sides: ["#d64541", "#2e6bc6"], ink: "#1b2430"};
const DARK = {surround: "#0b0f14", boards: "#4a5866", ice: "#1c2530", line: "#3b4a5b", puck: "#eef2f6", blade: "#f7be38",
  sides: ["#ff7a70", "#6fb0ff"], ink: "#e6ebf1"};

const STYLE = `
:host { display: block; max-width: 100vh; margin-inline: auto; color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; outline-offset: 4px;
  --ink: #1b2430; --faint: #5a6675; --line: #cfd7e0; --left: #b8322e; --right: #2459a8; color: var(--ink); }
@media (prefers-color-scheme: dark) {
  :host { --ink: #e6ebf1; --faint: #9aa7b6; --line: #34414f; --left: #ff7a70; --right: #6fb0ff; } }
[hidden] { display: none !important; }
canvas { display: block; width: 100%; border-radius: .5rem; touch-action: manipulation; }
.rink { aspect-ratio: 5 / 4; }
.value { height: 3rem; margin-top: .4rem; border: 1px solid var(--line); box-sizing: border-box; cursor: pointer; }
.head { display: grid; grid-template-columns: minmax(0, 1fr) auto minmax(0, 1fr); gap: .6rem; align-items: baseline;
  margin-bottom: .3rem; }
.name { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.left { color: var(--left); } .right { color: var(--right); text-align: right; }
.score { font-weight: 700; font-size: 1.25em; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts, .actions { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; margin-top: .3rem;
  color: var(--faint); font-size: .85em; font-variant-numeric: tabular-nums; }
.bar { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin-top: .4rem; }
.bar input[type=range] { flex: 1 1 100%; min-width: 0; margin: .3rem 0; }
button, select { font: inherit; min-width: 2.6rem; min-height: 2.4rem; padding: .2rem .5rem; color: inherit; cursor: pointer;
  background: transparent; border: 1px solid var(--line); border-radius: .4rem; }
option { color: CanvasText; background: Canvas; }
button:hover { border-color: var(--faint); }
button:disabled { opacity: .4; cursor: default; }
:focus-visible { outline: 2px solid var(--right); outline-offset: 2px; }
label { white-space: nowrap; }
:host([instant]) .bar, :host([compact]) .facts, :host([compact]) .actions, :host([compact]) .bar,
:host([compact]) .value { display: none; }
:host([instant]) .rink { touch-action: none; cursor: crosshair; }`;

const BODY = `
<div class="head"><span class="name left"></span><span class="score"></span>
<span class="name right"></span></div>
<canvas class="rink" role="img" aria-label="rink"></canvas>
<canvas class="value" role="img" aria-label="value" hidden></canvas>
<div class="facts"><span class="clock"></span><span class="holds"></span><span class="worth"></span><span class="round"></span></div>
<div class="actions"><span class="left"></span><span class="right"></span></div>
<div class="bar" role="group" aria-label="playback">
<input type="range" class="scrub" min="0" max="0" value="0" aria-label="step">
<button class="play" aria-label="play">&#9654;</button>
<button class="back" aria-label="one step back">&#8722;1</button>
<button class="forth" aria-label="one step on">+1</button>
<label>speed <select class="speed"></select></label>
<button class="previous" aria-label="previous round">|&#9664;</button>
<button class="next" aria-label="next round">&#9654;|</button>
<label class="dreaming" hidden><input type="checkbox" class="dreams" checked> dreams</label></div>`;

class RinkViewer extends HTMLElement {
  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.attachShadow({mode: "open"}).innerHTML = BODY;
    this.shadowRoot.adoptedStyleSheets = [sheet];
    this.$ = name => this.shadowRoot.querySelector("." + name);
    this.match = {names: ["", ""], rounds: [blank()]};
    this.roundIndex = 0;
    this.time = 0;  // in steps; what is shown is its whole part
    this.speed = 1;
    this.playing = false;
    this.live = false;
    this.rest = 0;  // steps to wait before the next round begins
    for (const speed of SPEEDS) this.$("speed").add(new Option(`${speed}×`, speed, speed === 1, speed === 1));
    this._listen();
  }

  connectedCallback() {
    this.setAttribute("role", "group");
    if (!this.hasAttribute("tabindex") && !this.hasAttribute("compact")) this.tabIndex = 0;
    this._sized = new ResizeObserver(() => this._draw());
    this._sized.observe(this.$("rink"));
    this._dark = matchMedia("(prefers-color-scheme: dark)");
    this._dark.onchange = () => this._draw();
    this._last = performance.now();
    this._tick = now => { this._advance(now); this._frame = requestAnimationFrame(this._tick); };
    this._frame = requestAnimationFrame(this._tick);
    this._show();
  }

  disconnectedCallback() {
    cancelAnimationFrame(this._frame);
    this._sized.disconnect();
  }

  // ---- what a page calls

  show(match, round = 0) {
    this.live = false;
    this.match = match;
    this._open(round);
    this.playing = !this.hasAttribute("paused") && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this._show();
  }

  chooseRound(index) { this._open(Math.max(0, Math.min(index, this.match.rounds.length - 1))); this._show(); }

  begin({names, round, number, of}) {
    this.match = {names, rounds: [{...blank(), ...round}], number, of};
    this.live = this.playing = true;
    this._open(0);
    this.time = this.steps;
    this._show();
  }

  push({frames, actions}) {
    const round = this._round;
    round.frames.push(...frames);
    for (const side of [0, 1]) if (round.actions[side] && actions[side]) round.actions[side].push(...actions[side]);
    if (this.hasAttribute("instant") && this.playing) this.time = this.steps;
    this._show();
  }

  end({winner}) { this._round.winner = winner; this._show(); }

  get step() { return Math.min(Math.floor(this.time), this.steps); }
  set step(step) {
    this.time = Math.max(0, Math.min(step, this.steps));
    this.rest = 0;
    if (!this.live || this.time < this.steps) this.playing = false;
    this._show();
  }
  get steps() { return this._round.frames.length - 1; }
  get _round() { return this.match.rounds[this.roundIndex]; }

  /* Where on the rink, [x, y] in units from its centre, an event of the pointer is; null: not on it. */
  spot(event) {
    const box = this.$("rink").getBoundingClientRect(), scale = box.width / WIDTH * UNIT;
    const [x, y] = [(event.clientX - box.left - box.width / 2) / scale, (box.top + box.height / 2 - event.clientY) / scale];
    return Math.abs(x) <= WIDTH / UNIT / 2 && Math.abs(y) <= HEIGHT / UNIT / 2 ? [x, y] : null;
  }

  // ---- playing

  toggle() {
    this.playing = !this.playing;
    if (this.playing && this.step === this.steps && !this.live) this._open(this._isLast ? 0 : this.roundIndex + 1);
    this._show();
  }

  get _isLast() { return this.roundIndex === this.match.rounds.length - 1; }

  _open(round) { this.roundIndex = round; this.time = 0; this.rest = 0; }

  _advance(now) {
    const passed = Math.min(now - this._last, 200) / 1000 * STEPS_PER_S * this.speed;
    this._last = now;
    if (!this.playing || document.hidden) return;
    const before = this.step;
    const behind = this.live ? this.steps - this.time : 0;
    this.time = Math.min(this.time + passed * (1 + behind / 5), this.steps);
    if (this.live) {
      if (behind > LATE) this.time = this.steps;  // in a hidden page time stands still
    } else if (this.step === this.steps && (this.rest += passed) > PAUSE_STEPS) {
      if (!this._isLast) { this._open(this.roundIndex + 1); this._show(); return; }
      this.playing = false;
      this._show();
      this.dispatchEvent(new Event("finished"));
    }
    if (this.step !== before) this._show();
  }

  // ---- what the user does

  _listen() {
    const click = (name, act) => this.$(name).addEventListener("click", act);
    click("play", () => this.toggle());
    click("back", () => { this.step -= 1; });
    click("forth", () => { this.step += 1; });
    click("previous", () => this.chooseRound(this.roundIndex - 1));
    click("next", () => this.chooseRound(this.roundIndex + 1));
    click("value", event => {
      const box = this.$("value").getBoundingClientRect();
      this.step = Math.round((event.clientX - box.left) / box.width * this.steps);
    });
    this.$("scrub").addEventListener("input", () => { this.step = Number(this.$("scrub").value); });
    this.$("speed").addEventListener("change", () => { this.speed = Number(this.$("speed").value); });
    this.$("dreams").addEventListener("change", () => this._draw());
    this.addEventListener("keydown", event => this._key(event));
  }

  _key(event) {
    const at = event.composedPath()[0], many = event.shiftKey ? 10 : 1;
    if (event.ctrlKey || event.altKey || event.metaKey || this.matches("[compact], [instant]")) return;
    if (at.tagName === "SELECT" || (event.key === " " && at.matches("button, input"))) return;
    const faster = by => {
      const place = SPEEDS.indexOf(this.speed) + by;
      if (SPEEDS[place]) this.$("speed").value = this.speed = SPEEDS[place];
    };
    const act = {
      " ": () => this.toggle(), "ArrowLeft": () => { this.step -= many; }, "ArrowRight": () => { this.step += many; },
      "Home": () => { this.step = 0; }, "End": () => { this.step = this.steps; }, "+": () => faster(1), "-": () => faster(-1),
      "n": () => this.chooseRound(this.roundIndex + 1), "p": () => this.chooseRound(this.roundIndex - 1),
      "d": () => { this.$("dreams").checked = !this.$("dreams").checked; this._draw(); },
    }[event.key];
    if (act) { act(); event.preventDefault(); }
  }

  // ---- words

  _show() {
    if (!this.isConnected) return;
    const {names, rounds, number, of} = this.match, round = this._round, step = this.step, over = step === this.steps;
    const [left, right] = score(round, over), text = (name, value) => { this.$(name).textContent = value; };
    this.setAttribute("aria-label", names[0] || names[1] ? `${names[0]} against ${names[1]}` : "rink");
    this.shadowRoot.querySelectorAll(".name").forEach((name, side) => { name.textContent = name.title = names[side]; });
    text("score", `${left} : ${right}`);
    text("clock", `${(step / STEPS_PER_S).toFixed(2)} s of ${(MOST_STEPS / STEPS_PER_S).toFixed(2)}, step ${step}${this.live ? "" : ` of ${this.steps}`}`);
    text("holds", over ? ending(round, names) : holder(round.frames[step], names));
    text("worth", round.mind ? `value for ${names[round.mind.side]} ${signed(round.mind.value[step])}` : "");
    const all = of ?? (rounds.length > 1 && rounds.length);
    text("round", number || all ? `round ${number ?? this.roundIndex + 1}${all ? ` of ${all}` : ""}` : "");
    this.shadowRoot.querySelectorAll(".actions span").forEach((line, side) => {
      line.textContent = round.actions[side] ? action(acted(round, side, step)) : "action not known";
    });
    const scrub = this.$("scrub"), play = this.$("play");
    scrub.max = this.steps;
    scrub.value = step;
    scrub.setAttribute("aria-valuetext", this.$("clock").textContent);
    play.textContent = this.playing ? "❚❚" : "▶";
    play.setAttribute("aria-label", this.playing ? "pause" : "play");
    this.$("previous").hidden = this.$("next").hidden = rounds.length < 2;
    this.$("previous").disabled = this.roundIndex === 0;
    this.$("next").disabled = this._isLast;
    this.$("dreaming").hidden = this.$("value").hidden = !round.mind;
    if (!this.playing)
      this.$("rink").setAttribute("aria-label", ["clock", "holds", "worth"].map(name => this.$(name).textContent).join(". "));
    this._draw();
  }

  // ---- pictures

  _draw() {
    const colours = this._dark?.matches ? DARK : LIGHT, round = this._round, step = this.step;
    const pen = prepared(this.$("rink"), WIDTH, HEIGHT);
    if (!pen) return;
    pen.translate(WIDTH / 2, HEIGHT / 2);
    pen.scale(1, -1);
    drawRink(pen, colours);
    const frame = round.frames[step];
    if (!frame) return;
    drawTrail(pen, round.frames.slice(Math.max(0, step - TRAIL), step + 1), colours);
    const over = step === this.steps && round.winner !== null;  // what is dreamed of after the end will never be
    if (round.mind && !over && this.$("dreams").checked) drawDream(pen, round.mind.dreams[step] ?? [], colours);
    for (const side of [0, 1]) drawAction(pen, frame, side, acted(round, side, step), colours);
    for (const side of [0, 1]) drawRacket(pen, frame, side, colours);
    drawPuck(pen, frame, frame[8] > 0 ? colours.sides[0] : frame[9] > 0 ? colours.sides[1] : colours.line, colours);
    if (round.mind) drawValue(this.$("value"), round.mind, step, colours);
  }
}

// ---- words

const blank = () => ({frames: [[-3, 0, 0, 3, 0, 0, 0, 0, 0, 0]], actions: [[], []], score: [0, 0], winner: null});
const acted = ({actions}, side, step) => actions[side]?.[Math.min(step, actions[side].length - 1)];  // at the end the last one
const score = ({score: [left, right], winner}, over) => [left + (over && winner === 1), right + (over && winner === -1)];
const signed = value => (value === undefined ? "" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1));
const holder = (frame, names) => frame[8] > 0 ? `${names[0]} holds the puck` : frame[9] > 0 ? `${names[1]} holds the puck` : "";
const ending = ({winner}, names) => winner === 0 ? "a draw" : winner ? `goal of ${names[winner > 0 ? 0 : 1]}` : "";
const action = row => row
  ? `push ${signed(row[0])} ${signed(row[1])}, turn ${signed(row[2])}${row[3] > 0.5 ? ", shoots" : ""}` : "";

// ---- pictures; in pixels from the centre, y up

function prepared(canvas, width, height) {
  const scale = canvas.clientWidth * devicePixelRatio / width;
  if (!scale) return null;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, {width: wide, height: high});
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function polygon(pen, points, place = p => p) {
  pen.beginPath();
  for (const point of points) pen.lineTo(...place(point));
  pen.closePath();
}

function filled(pen, colour, points, place) { polygon(pen, points, place); pen.fillStyle = colour; pen.fill(); }

function circle(pen, x, y, radius, from = 0, to = 2 * Math.PI) { pen.beginPath(); pen.arc(x, y, radius, from, to); }

function drawRink(pen, colours) {
  pen.fillStyle = colours.surround;
  pen.fillRect(-WIDTH / 2, -HEIGHT / 2, WIDTH, HEIGHT);
  pen.fillStyle = colours.ice;
  pen.fillRect(-253, -205, 506, 410);
  Object.assign(pen, {strokeStyle: colours.line, fillStyle: colours.line, lineWidth: 2});
  pen.beginPath(); pen.moveTo(0, 205); pen.lineTo(0, -205); pen.stroke();
  circle(pen, 0, 0, 100); pen.stroke();
  circle(pen, 0, 0, 5); pen.fill();
  for (const side of [-1, 1]) {
    circle(pen, side * 245, 0, 75, side < 0 ? -Math.PI / 2 : Math.PI / 2, side < 0 ? Math.PI / 2 : 1.5 * Math.PI);
    pen.stroke();
    pen.fillStyle = colours.sides[side < 0 ? 0 : 1];
    pen.fillRect(side * 255 - 10, -75, 20, 150);
    for (const up of [-1, 1]) filled(pen, colours.boards, END_WALL, ([x, y]) => [side * (245 - x), up * (210 - y)]);
    pen.fillRect(-255, side * 210 - 10, 510, 20);
  }
}

function drawTrail(pen, frames, colours) {
  pen.strokeStyle = colours.puck;
  pen.lineWidth = 3;
  for (let i = 1; i < frames.length; i++) {
    pen.globalAlpha = 0.4 * i / frames.length;
    pen.beginPath();
    pen.moveTo(UNIT * frames[i - 1][6], UNIT * frames[i - 1][7]);
    pen.lineTo(UNIT * frames[i][6], UNIT * frames[i][7]);
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

function placed(frame, side) {
  const [x, y, angle] = frame.slice(3 * side, 3 * side + 3), cos = Math.cos(angle), sin = Math.sin(angle), turned = side ? -1 : 1;
  return ([px, py]) => [UNIT * x + cos * turned * px - sin * py, UNIT * y + sin * turned * px + cos * py];
}

function drawRacket(pen, frame, side, colours) {
  const place = placed(frame, side);
  filled(pen, colours.sides[side], RACKET, place);
  pen.strokeStyle = colours.blade;  // the side that hits the puck
  pen.lineWidth = 3;
  pen.beginPath(); pen.moveTo(...place(RACKET[1])); pen.lineTo(...place(RACKET[2])); pen.stroke();
}

function drawPuck(pen, frame, owner, colours) {
  const [x, y] = [UNIT * frame[6], UNIT * frame[7]];
  circle(pen, x, y, 13); pen.fillStyle = colours.puck; pen.fill();
  circle(pen, x, y, 9); pen.strokeStyle = owner; pen.lineWidth = 3; pen.stroke();
}

function drawAction(pen, frame, side, row, colours) {
  if (!row) return;
  const turned = side ? -1 : 1, [x, y] = [UNIT * frame[3 * side], UNIT * frame[3 * side + 1]];
  const [dx, dy] = [45 * turned * row[0], 45 * turned * row[1]], length = Math.hypot(dx, dy);
  Object.assign(pen, {strokeStyle: colours.sides[side], fillStyle: colours.sides[side], lineWidth: 3, globalAlpha: 0.7});
  if (length > 3) {
    const [tipX, tipY, ux, uy] = [x + 25 * dx / length + dx, y + 25 * dy / length + dy, dx / length, dy / length];
    pen.beginPath(); pen.moveTo(x, y); pen.lineTo(tipX, tipY); pen.stroke();
    polygon(pen, [[tipX + 8 * ux, tipY + 8 * uy], [tipX - 5 * uy, tipY + 5 * ux], [tipX + 5 * uy, tipY - 5 * ux]]); pen.fill();
  }
  if (Math.abs(row[2]) > 0.05) {
    const from = Math.PI / 2;
    pen.beginPath(); pen.arc(x, y, 36, from, from + 1.2 * row[2], row[2] < 0); pen.stroke();
  }
  if (row[3] > 0.5) { pen.lineWidth = 2; circle(pen, x, y, 42); pen.stroke(); }
  pen.globalAlpha = 1;
}

function drawDream(pen, rows, colours) {
  pen.lineWidth = 1.5;
  rows.forEach((row, index) => {
    const fade = 0.6 * (1 - 0.6 * index / rows.length);
    circle(pen, UNIT * row[6], UNIT * row[7], 13);
    Object.assign(pen, {globalAlpha: fade, strokeStyle: colours.ink});
    pen.setLineDash([3, 3]);
    pen.stroke();
    if ((index + 1) % 5) return;
    for (const side of [0, 1]) { polygon(pen, RACKET, placed(row, side)); pen.strokeStyle = colours.sides[side]; pen.stroke(); }
  });
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function drawValue(canvas, mind, step, colours) {
  const width = canvas.clientWidth, height = canvas.clientHeight, pen = prepared(canvas, width, height);
  if (!pen) return;
  const most = Math.max(10, ...mind.value.map(Math.abs)), last = mind.value.length - 1;
  const at = index => [4 + (width - 8) * index / (last || 1), height / 2 * (1 - 0.9 * mind.value[index] / most)];
  Object.assign(pen, {strokeStyle: colours.line, lineWidth: 1});
  pen.beginPath(); pen.moveTo(0, height / 2); pen.lineTo(width, height / 2); pen.stroke();
  Object.assign(pen, {strokeStyle: colours.sides[mind.side], lineWidth: 2});
  pen.beginPath();
  mind.value.forEach((_, index) => pen.lineTo(...at(index)));
  pen.stroke();
  circle(pen, ...at(step), 4); pen.fillStyle = colours.ink; pen.fill();
  canvas.setAttribute("aria-label", `what the agent expects over the round; now ${signed(mind.value[step])}`);
}

customElements.define("rink-viewer", RinkViewer);
})();
