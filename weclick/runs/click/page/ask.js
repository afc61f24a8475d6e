// The ask mode: a ring marks a place that `weclick ask` proposed, and a class key answers what is there.
// Neither why it is asked nor what the net predicts is shown: an answer is worth most if nothing hints at it.

import { Refused, getJson } from "./api.js";
import { say, tell } from "./told.js";

const CLEAR_PX = 130; // a ring so near the upper edge would lie under the question

const one = (id) => document.getElementById(id);
const percent = (share) => Math.round(100 * share);
const isAt = (place, { clip, frame }) => place?.[0] === clip && place[1] === frame;
const isSame = (a, b) => isAt([a.clip, a.frame], b) && a.y === b.y && a.x === b.x;

export class Asking extends EventTarget {
  #open = []; // asks without an answer, the next one first
  #known = []; // all that this page has seen
  #on = false;
  #stale = false; // whether an answer is on its way to the disk

  constructor(model, view, browse, hand, outbox) {
    super();
    Object.assign(this, { model, view, browse, hand });
    browse.addEventListener("shown", () => this.#mark(true));
    browse.addEventListener("left", () => { one("asked").hidden = true; });
    view.stage.addEventListener("drawn", () => this.#mark());
    model.addEventListener("removed", ({ detail }) => this.#again(detail));
    hand.addEventListener("asked again", ({ detail }) => this.#again(detail));
    hand.addEventListener("left", ({ detail }) => this.#leave(detail));
    outbox.addEventListener("changed", () => { if (this.#stale && !model.pending.size) this.#lookUp(); });
    this.#lookUp();
  }

  get on() { return this.#on; }

  async toggle() {
    if (this.#on) return this.#end();
    const told = await this.#lookUp();
    if (!told) return;
    if (!told.made) return tell(`No places are proposed yet. In a terminal: ${told.todo}`);
    if (!told.asks.length) return tell(`Every proposed place has an answer. Train, and then: ${told.todo}`);
    if (told.older) tell(`A newer student is there. Its own questions come by: ${told.todo}`);
    this.#open = [...told.asks];
    this.#known = told.asks;
    this.#turn(true);
    this.#next();
  }

  /** A class is at the ring. */
  answer(number) {
    const [ask] = this.#open;
    if (!isAt(this.browse.place, ask)) return this.#next();
    this.hand.click([ask.y, ask.x], performance.now(), { number, ask: ask.ask });
    this.#done();
  }

  cannotTell() {
    if (!this.#on) return tell("Nothing is asked. Q begins.");
    const [ask] = this.#open;
    if (!isAt(this.browse.place, ask)) return this.#next();
    const { model } = this;
    const where = { clip: model.clips[ask.clip].name, frame: model.frameName(ask.clip, ask.frame), y: ask.y, x: ask.x };
    this.hand.cannotTell(ask, { ...ask.ask, ...where });
  }

  /** Ask this one later. */
  skip() {
    this.#open.push(this.#open.shift());
    this.#next();
  }

  #done() {
    this.#stale = true;
    this.#open.shift();
    this.#next();
  }

  /** A place stays without an answer. */
  #leave(mark) {
    this.#stale = true;
    if (!this.#on) return;
    this.#open = this.#open.filter((ask) => !isSame(ask, mark));
    this.#next();
  }

  #next() {
    const there = ({ clip, frame, y, x }) => this.model.on(clip, frame).some((click) => click.y === y && click.x === x);
    while (this.#open.length && there(this.#open[0])) this.#open.shift(); // others answer, too
    if (!this.#open.length) {
      tell("Every proposed place has an answer. Thank you. Train, and ask again.");
      return this.#end();
    }
    const [ask, ...later] = this.#open;
    this.browse.expected = later.slice(0, 3).map(({ clip, frame }) => [clip, frame]);
    one("asking-text").textContent = `What is at the dot? ${this.#open.length} left`;
    say(`What is at x ${ask.x}, y ${ask.y}? ${this.#open.length} left`);
    if (isAt(this.browse.place, ask)) this.#mark(true);
    else this.browse.go([ask.clip, ask.frame]);
  }

  /** An answer was taken back: ask again. */
  #again(click) {
    if (!this.#on || !click.ask) return;
    const ask = this.#known.find((each) => isSame(each, click));
    if (!ask) return;
    this.#open.unshift(ask);
    this.#stale = true;
    queueMicrotask(() => this.#next()); // the model is at work
  }

  #end() {
    this.#turn(false);
    this.browse.expected = [];
  }

  #turn(on) {
    this.#on = on;
    one("ask").setAttribute("aria-pressed", on);
    one("asking").hidden = !on;
    this.#mark(true);
    this.dispatchEvent(new Event(on ? "began" : "ended"));
  }

  /** Draw the ring where the frame is now; `reveal` also moves the frame. */
  #mark(reveal = false) {
    const ring = one("asked");
    const [ask] = this.#open;
    const shown = this.#on && ask && this.view.stage.dataset.shown === `${ask.clip}/${ask.frame}`;
    ring.hidden = !shown;
    if (!shown) return;
    if (reveal) this.view.reveal(ask.y, ask.x);
    const [x, y] = this.view.place(ask.y, ask.x);
    ring.style.transform = `translate(${x}px, ${y}px)`;
    one("asking").classList.toggle("low", y < CLEAR_PX);
  }

  async #lookUp() {
    this.#stale = false;
    try {
      const told = await getJson("/api/asks");
      one("ask-text").textContent = told.asks.length ? `Answer ${told.asks.length} questions` : "Answer questions";
      one("honest").textContent = told.honest ? honestText(told.honest) : "";
      return told;
    } catch (error) {
      tell(error instanceof Refused ? error.message : "The server is away.");
      return null;
    }
  }
}

function honestText({ answers, void: unknown, accuracy, low, high }) {
  const beside = unknown ? `, ${unknown} could not be told` : "";
  if (!answers) return `Honest accuracy: no answer at random yet${beside}.`;
  return `Honest accuracy ${percent(accuracy)} % (${percent(low)} to ${percent(high)} %), from ${answers} random places${beside}.`;
}
