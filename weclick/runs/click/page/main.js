// The page: one frame, a class, and clicks that are on disk at once.

import { Aim } from "./aim.js";
import { Refused, getJson, pause } from "./api.js";
import { Asking } from "./ask.js";
import { Browse } from "./browse.js";
import { Hand } from "./hand.js";
import { listKeys, watchKeys } from "./keys.js";
import { Layers } from "./layers.js";
import { Model } from "./model.js";
import { Outbox } from "./outbox.js";
import { Panel } from "./panel.js";
import { watchPointers } from "./pointer.js";
import { say, tell } from "./told.js";
import { View } from "./view.js";

const one = (id) => document.getElementById(id);
const who = () => one("who").value.trim() || model.who;

const model = new Model(await state());
one("who").value = localStorage.getItem("weclick:who") ?? model.who;
const outbox = new Outbox(model);
const view = new View(one("stage"), model.classes);
const panel = new Panel(model, choose);
const browse = new Browse(model, view, panel);
const hand = new Hand(model, view, browse, outbox, who);
const layers = new Layers(model, view, browse, hand);
const aim = new Aim(view);
const asking = new Asking(model, view, browse, hand, outbox);
let scribbling = false;

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

function choose(number, isMeant = true) {
  if (number >= model.classes.length) return;
  if (asking.on) return isMeant && asking.answer(number);
  hand.chosen = number;
  panel.choose(number);
  say(model.classes[number].name);
}

function scribble() {
  scribbling = !scribbling;
  one("scribble").setAttribute("aria-pressed", scribbling);
  view.stage.classList.toggle("scribbling", scribbling);
}

function hide() {
  view.hidden = !view.hidden;
  view.drawPoints();
  tell(view.hidden ? "Points are hidden. H shows them." : "Points are shown.");
}

const actions = {
  scribble, hide,
  next: ({ timeStamp }) => (asking.on ? asking.skip() : browse.next(timeStamp)),
  back: () => browse.back(),
  earlier: ({ timeStamp }) => browse.step(-1, timeStamp),
  later: ({ timeStamp }) => browse.step(1, timeStamp),
  clipBefore: () => browse.clip(-1),
  clipAfter: () => browse.clip(1),
  undo: () => hand.undo(),
  redo: () => hand.redo(),
  left: () => aim.move(0, -1), right: () => aim.move(0, 1), up: () => aim.move(-1, 0), down: () => aim.move(1, 0),
  leftOne: () => aim.move(0, -1, true), rightOne: () => aim.move(0, 1, true),
  upOne: () => aim.move(-1, 0, true), downOne: () => aim.move(1, 0, true),
  put: ({ timeStamp }) => (aim.cursor ? hand.click(aim.cursor, timeStamp) : aim.move(0, 0)),
  zoomIn: () => aim.zoom(1.5),
  zoomOut: () => aim.zoom(1 / 1.5),
  fit: () => aim.fit(),
  ghost: () => layers.confirm(aim.place),
  ghosts: () => layers.confirmAll(),
  prediction: () => (asking.on ? tell("The prediction is hidden while you answer.") : layers.togglePrediction()),
  ask: () => asking.toggle(),
  cannotTell: () => asking.cannotTell(),
  help: () => one("keys").showModal(),
};
watchKeys(actions, choose);
listKeys(one("keys-list"));

const others = { "zoom-in": "zoomIn", "zoom-out": "zoomOut", "zoom-fit": "fit", "cannot-tell": "cannotTell", "ask-later": "next" };
for (const button of document.querySelectorAll("#actions button, #time button, #zoom button, #asking button, #help")) {
  button.addEventListener("click", (event) => actions[others[button.id] ?? button.id](event));
}
one("at").addEventListener("input", ({ target }) => browse.go([browse.place[0], Number(target.value)]));
one("clip").addEventListener("change", ({ target }) => browse.clip(Number(target.value) - browse.place[0]));
one("who").addEventListener("change", () => {
  localStorage.setItem("weclick:who", who());
  view.who = who();
  view.drawPoints();
});

watchPointers(view, {
  place: (pixel, since) => hand.click(pixel, since),
  scribbles: () => scribbling,
  drawn: (points) => hand.scribble(points),
  number: () => hand.chosen,
  looked: () => aim.draw(),
});
browse.addEventListener("left", () => aim.hide());
asking.addEventListener("began", () => layers.hidePrediction());

const here = ({ clip, frame }) => clip === browse.place?.[0] && frame === browse.place[1];
model.addEventListener("added", ({ detail }) => { if (here(detail)) view.add(detail); panel.refresh(); });
model.addEventListener("removed", ({ detail }) => { if (here(detail)) view.remove(detail.id); panel.refresh(); });
outbox.addEventListener("changed", () => panel.saved(model.pending.size, outbox.away));
hand.addEventListener("made", () => panel.made.push(performance.now()));
hand.addEventListener("changed", history);
setInterval(() => panel.pace(), 5000);

/** Which of the two buttons do something. */
function history() {
  one("undo").disabled = !hand.canUndo;
  one("redo").disabled = !hand.canRedo;
}

/** Others' clicks, and one's own as they stand on disk. The server answers as soon as there are some. */
async function followLog() {
  let [of, since] = ["", 0];
  for (;;) {
    try {
      const found = await getJson(`/api/events?of=${of}&since=${since}`);
      const replaced = of && found.generation !== of;
      if (replaced) model.forget();
      found.events.forEach((event) => model.apply(event));
      if (replaced) {
        outbox.restore();
        view.clicks = model.on(...browse.place);
        view.drawPoints();
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

view.who = who();
choose(0);
history();
panel.saved(0, "");
panel.refresh();
outbox.restore();
browse.go(model.queue[0], { keep: false });
followLog();
