// The page: one frame, a class, and clicks that are on disk at once.

import { Refused, getImage, getJson, pause } from "./api.js";
import { Frames } from "./frames.js";
import { listKeys, watchKeys } from "./keys.js";
import { Model } from "./model.js";
import { Outbox } from "./outbox.js";
import { Panel } from "./panel.js";
import { watchPointers } from "./pointer.js";
import { View } from "./view.js";

const one = (id) => document.getElementById(id);
const AHEAD = 3;
const SETTLE_MS = 150; // ghosts and predictions cost seconds, so they are not asked for in passing
const TOAST_MS = 5000;

const model = new Model(await state());
const outbox = new Outbox(model);
const frames = new Frames();
const view = new View(one("stage"), model.classes);
const panel = new Panel(model, choose);

let place = null; // [clip, frame] in view
let chosen = 0; // class
let wanted = 0; // counts changes of place, so that what comes late is dropped
let pointer = null; // [y, x] under the mouse
let cursor = null; // [y, x] of the keyboard
let scribbling = false;
let guessing = false;
let asking = null; // stops the questions about the frame before
const visited = [];
const done = []; // own clicks, for undo
const taken = []; // own clicks that were taken back, for redo

async function state() {
  for (;;) {
    try {
      return await getJson("/api/state");
    } catch (error) {
      tell(error instanceof Refused ? error.message : "The server is away. This page waits for it.");
      await pause(1000);
    }
  }
}

function tell(text) {
  const toast = one("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { toast.hidden = true; }, TOAST_MS);
}

const say = (text) => { one("told").textContent = text; };
const who = () => one("who").value.trim() || model.who;

// ---- frames

/** Show a frame; `ahead` are those that are likely next. */
async function go(next, { since = performance.now(), step = 0, keep = true } = {}) {
  const turn = ++wanted;
  if (keep && place) visited.push(place);
  place = next;
  asking?.abort();
  asking = new AbortController();
  panel.at(...place);
  cursor = null;
  one("cursor").hidden = true;
  const slow = setTimeout(() => { one("wait").hidden = false; }, 200);
  try {
    const bitmap = frames.peek(place) ?? await frames.get(place, likely(step));
    if (turn !== wanted) return;
    view.show(bitmap, model.on(...place));
    one("stage").dataset.shown = place.join("/");
    panel.at(...place);
    requestAnimationFrame((now) => performance.measure("frame", { start: since, end: Math.max(now, since) }));
    frames.get(place, likely(step)); // go on with what is likely next
    settle(turn, asking.signal);
  } catch (error) {
    if (turn === wanted && error.name !== "AbortError") {
      tell(error instanceof Refused ? error.message : "The server is away.");
      retry(turn, next);
    }
  } finally {
    clearTimeout(slow);
    if (turn === wanted) one("wait").hidden = true;
  }
}

async function retry(turn, next) {
  await pause(1500);
  if (turn === wanted) go(next, { keep: false });
}

/** What is likely to be looked at after this frame. */
function likely(step) {
  const [clip, frame] = place;
  const has = (at) => at >= 0 && at < model.clips[clip].frames;
  const found = [];
  if (step) for (let i = 1; i <= AHEAD; i++) found.push([clip, frame + i * step]);
  let at = place;
  for (let i = 0; i < AHEAD && at; i++) if ((at = following(at))) found.push(at);
  if (!step) found.push([clip, frame + 1], [clip, frame - 1]);
  return found.filter(([c, f]) => c !== clip || has(f));
}

/** The next frame of the queue that nobody has clicked on; at the end the first one left. */
function following(from) {
  const { queue } = model;
  const at = queue.findIndex(([clip, frame]) => clip === from[0] && frame === from[1]);
  const open = ([clip, frame]) => !model.frames.has(model.key(clip, frame));
  for (let i = 1; i <= queue.length; i++) {
    const next = queue[(at + i) % queue.length];
    if (open(next) && !(next[0] === from[0] && next[1] === from[1])) return next;
  }
  return null;
}

function next(event) {
  const to = following(place);
  if (to) go(to, { since: event?.timeStamp });
  else tell("Every frame of the queue has a click. Step on with , and . or start with more frames (--per-clip).");
}

function step(by, event) {
  const [clip, frame] = place;
  const to = Math.min(Math.max(frame + by, 0), model.clips[clip].frames - 1);
  if (to !== frame) go([clip, to], { since: event?.timeStamp, step: Math.sign(by) });
}

function clipBy(by) {
  const count = model.clips.length;
  const clip = (place[0] + by + count) % count;
  go(model.queue.find(([c]) => c === clip) ?? [clip, 0]);
}

function back() {
  const before = visited.pop();
  if (before) go(before, { keep: false });
}

/** When a frame stays in view, ask for its ghosts and its prediction. */
async function settle(turn, signal) {
  await pause(SETTLE_MS);
  if (turn !== wanted) return;
  const at = place.join("/");
  if (guessing) predict(turn, signal);
  if (!model.hasNear(...place, model.reach)) return showGhosts([]);
  try {
    const { ghosts } = await getJson(`/api/ghosts/${at}`, signal);
    if (turn === wanted) showGhosts(ghosts);
  } catch (error) {
    if (error instanceof Refused) tell(error.message);
  }
}

async function predict(turn, signal) {
  try {
    const bitmap = await getImage(`/api/prediction/${place.join("/")}`, signal, "low");
    if (turn === wanted && guessing) view.drawGuess(bitmap);
  } catch (error) {
    if (error instanceof Refused) {
      tell(error.message);
      setGuessing(false);
    }
  }
}

function setGuessing(on) {
  guessing = on;
  one("prediction").setAttribute("aria-pressed", on);
  if (on) predict(wanted, asking.signal);
  else view.drawGuess(null);
}

// ---- clicks

function choose(number) {
  if (number >= model.classes.length) return;
  chosen = number;
  panel.choose(number);
  say(`${model.classes[number].name}`);
}

const near = (a, b, px) => Math.hypot(a.y - b.y, a.x - b.x) < px;

function put([y, x], since = performance.now(), { number = chosen, source = "human" } = {}) {
  const [clip, frame] = place;
  const other = view.clicks.find((click) => click.y === y && click.x === x);
  const name = model.classes[number].name;
  if (other) return tell(`There is a click of ${model.classes[other.class].name} on this very pixel.`);
  if (view.clicks.some((click) => click.class === number && near(click, { y, x }, model.near_px))) {
    tell(`Another click of ${name} is less than ${model.near_px} pixels away. Undo takes this one back.`);
  }
  send({ id: crypto.randomUUID(), clip, frame, y, x, class: number, source, who: who() });
  requestAnimationFrame((now) => performance.measure("click", { start: since, end: Math.max(now, since) }));
  say(`${name} at ${x}, ${y}`);
}

function draw(points) {
  const [clip, frame] = place;
  send({ id: crypto.randomUUID(), clip, frame, points, class: chosen, source: "human", who: who() });
}

function send(click) {
  outbox.add(click);
  done.push(click);
  taken.length = 0;
  panel.made.push(performance.now());
  dropGhosts(click);
  history();
}

function undo() {
  let click = done.pop();
  while (click && model.undone.has(click.id)) click = done.pop();
  if (!click) return tell("There is no click of yours to take back on this page.");
  outbox.add({ id: crypto.randomUUID(), undo: click.id, who: click.who });
  taken.push(click);
  follow(click, "taken back");
}

function redo() {
  const click = taken.pop();
  if (!click) return tell("There is nothing to do again.");
  const again = { ...click, id: crypto.randomUUID() };
  outbox.add(again);
  done.push(again);
  follow(again, "clicked again");
}

/** Which of the two buttons do something. */
function history() {
  one("undo").disabled = !done.length;
  one("redo").disabled = !taken.length;
}

function follow({ clip, frame, class: number }, what) {
  say(`${model.classes[number].name} ${what}`);
  history();
  if (clip !== place[0] || frame !== place[1]) {
    tell(`${model.classes[number].name} ${what} on ${model.clips[clip].name}, ${model.frameName(clip, frame)}.`);
    go([clip, frame]);
  }
}

// ---- ghosts

function showGhosts(ghosts) {
  view.ghosts = ghosts;
  view.drawPoints();
  one("ghosts-text").textContent = ghosts.length ? `Ghosts ${ghosts.length}` : "Ghosts";
  one("ghosts").disabled = !ghosts.length;
}

function dropGhosts(click) {
  const left = view.ghosts.filter((ghost) => ghost.class !== click.class || !near(ghost, click, 12));
  if (left.length < view.ghosts.length) showGhosts(left);
}

function confirm(ghost) {
  showGhosts(view.ghosts.filter((each) => each !== ghost));
  put([ghost.y, ghost.x], performance.now(), { number: ghost.class, source: "ghost" });
}

function confirmOne() {
  if (!view.ghosts.length) return tell("No ghost here. They come from clicks at most five frames away.");
  const [y, x] = cursor ?? pointer ?? [0, 0];
  const apart = (ghost) => Math.hypot(ghost.y - y, ghost.x - x);
  confirm(view.ghosts.reduce((best, ghost) => (apart(ghost) < apart(best) ? ghost : best)));
}

const confirmAll = () => { for (const ghost of [...view.ghosts]) confirm(ghost); };

// ---- the keyboard's cursor

function move(dy, dx, exact) {
  const pixels = exact ? 1 : Math.max(1, Math.round(10 / view.scale));
  cursor ??= pointer ?? [Math.floor(view.height / 2), Math.floor(view.width / 2)];
  cursor = [
    Math.min(Math.max(cursor[0] + dy * pixels, 0), view.height - 1),
    Math.min(Math.max(cursor[1] + dx * pixels, 0), view.width - 1),
  ];
  view.reveal(...cursor);
  showCursor();
  say(`x ${cursor[1]}, y ${cursor[0]}`);
}

function showCursor() {
  const mark = one("cursor");
  mark.hidden = !cursor;
  if (!cursor) return;
  const [x, y] = view.place(...cursor);
  mark.style.transform = `translate(${x}px, ${y}px)`;
}

function zoom(factor) {
  view.moved = true;
  if (cursor) view.zoom(factor, ...view.place(...cursor));
  else if (pointer) view.zoom(factor, ...view.place(...pointer));
  else view.zoom(factor);
  showCursor();
}

function fit() {
  view.moved = false;
  view.fit();
  showCursor();
}

// ---- all together

const setScribbling = (on) => {
  scribbling = on;
  one("scribble").setAttribute("aria-pressed", on);
  one("stage").classList.toggle("scribbling", on);
};

const actions = {
  next, back, undo, redo, fit,
  earlier: (event) => step(-1, event),
  later: (event) => step(1, event),
  clipBefore: () => clipBy(-1),
  clipAfter: () => clipBy(1),
  left: () => move(0, -1), right: () => move(0, 1), up: () => move(-1, 0), down: () => move(1, 0),
  leftOne: () => move(0, -1, true), rightOne: () => move(0, 1, true),
  upOne: () => move(-1, 0, true), downOne: () => move(1, 0, true),
  put: (event) => (cursor ? put(cursor, event.timeStamp) : move(0, 0)),
  zoomIn: () => zoom(1.5),
  zoomOut: () => zoom(1 / 1.5),
  ghost: confirmOne,
  ghosts: confirmAll,
  prediction: () => (model.prediction ? setGuessing(!guessing) : tell("There is no student in the results yet.")),
  scribble: () => setScribbling(!scribbling),
  hide: () => { view.hidden = !view.hidden; view.drawPoints(); },
  help: () => one("keys").showModal(),
};
watchKeys(actions, choose);
listKeys(one("keys-list"));

const buttons = { "zoom-in": "zoomIn", "zoom-out": "zoomOut", "zoom-fit": "fit", ghosts: "ghosts" };
for (const button of document.querySelectorAll("#actions button, #time button, #zoom button, #help")) {
  button.addEventListener("click", (event) => actions[buttons[button.id] ?? button.id](event));
}
one("at").addEventListener("input", ({ target }) => go([place[0], Number(target.value)]));
one("clip").addEventListener("change", ({ target }) => clipBy(Number(target.value) - place[0]));
one("who").addEventListener("change", () => {
  localStorage.setItem("weclick:who", who());
  view.who = who();
  view.drawPoints();
});

watchPointers(view, {
  place: (pixel, since) => put(pixel, since),
  scribbles: () => scribbling,
  drawn: draw,
  number: () => chosen,
  looked: showCursor,
});
one("stage").addEventListener("pointermove", ({ clientX, clientY }) => { pointer = view.pixel(clientX, clientY); });
one("stage").addEventListener("pointerdown", () => { cursor = null; showCursor(); });
one("stage").addEventListener("pointerleave", () => { pointer = null; });

const here = ({ clip, frame }) => place && clip === place[0] && frame === place[1];
model.addEventListener("added", ({ detail }) => { if (here(detail)) view.add(detail); panel.refresh(); });
model.addEventListener("removed", ({ detail }) => { if (here(detail)) view.remove(detail.id); panel.refresh(); });
outbox.addEventListener("changed", () => panel.saved(model.pending.size, outbox.away));
outbox.addEventListener("refused", ({ detail: { why, id } }) => {
  tell(`Not taken: ${why}.`);
  for (const list of [done, taken]) list.splice(0, Infinity, ...list.filter((click) => click.id !== id));
  history();
});
setInterval(() => panel.pace(), 5000);

/** Others' clicks, and one's own as they stand on disk. The server answers as soon as there are some. */
async function followLog() {
  let [of, since] = ["", 0];
  for (;;) {
    try {
      const found = await getJson(`/api/events?of=${of}&since=${since}`);
      if (of && found.generation !== of) {
        model.forget();
        for (const wish of [...model.pending.values()]) model.pending.delete(wish.id);
        found.events.forEach((event) => model.apply(event));
        outbox.restore();
        view.clicks = model.on(...place);
        view.drawPoints();
      } else {
        found.events.forEach((event) => model.apply(event));
      }
      [of, since] = [found.generation, found.begin + found.events.length];
      panel.refresh();
      document.body.dataset.ready = "yes";
    } catch (error) {
      if (error instanceof Refused) tell(error.message);
      await pause(1000);
    }
  }
}

one("who").value = localStorage.getItem("weclick:who") ?? model.who;
view.who = who();
choose(0);
history();
showGhosts([]);
one("prediction").disabled = !model.prediction;
panel.saved(0, "");
panel.refresh();
outbox.restore();
go(model.queue[0], { keep: false });
followLog();
