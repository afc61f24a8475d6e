// The person's own clicks: made, taken back, made again.

import { say, tell } from "./told.js";

const near = (a, b, px) => Math.hypot(a.y - b.y, a.x - b.x) < px;

export class Hand extends EventTarget {
  #done = []; // clicks of this page, and what could not be told, for undo
  #taken = []; // those that were taken back, for redo

  constructor(model, view, browse, outbox, who) {
    super();
    Object.assign(this, { model, view, browse, outbox, who });
    this.chosen = 0; // class
    outbox.addEventListener("refused", ({ detail: { why, id } }) => {
      tell(`Not taken: ${why}.`);
      const others = (clicks) => clicks.filter((click) => click.id !== id);
      [this.#done, this.#taken] = [others(this.#done), others(this.#taken)];
      this.#changed();
    });
  }

  get canUndo() { return this.#done.length > 0; }
  get canRedo() { return this.#taken.length > 0; }

  /** Click on a pixel of the frame in view. `since` is when the person pressed. */
  click([y, x], since = performance.now(), { number = this.chosen, source = "human", ask } = {}) {
    const { model, view } = this;
    const { name } = model.classes[number];
    const there = view.clicks.find((click) => click.y === y && click.x === x);
    if (there) return tell(`There is a click of ${model.classes[there.class].name} on this very pixel.`);
    if (view.clicks.some((click) => click.class === number && near(click, { y, x }, model.near_px))) {
      tell(`Another click of ${name} is less than ${model.near_px} pixels away. Undo takes this one back.`);
    }
    this.#make(ask ? { y, x, ask } : { y, x }, number, source);
    view.clock("click", since);
    say(`${name} at ${x}, ${y}`);
  }

  /** Draw a scribble: [[y, x], ...]. */
  scribble(points) { this.#make({ points }, this.chosen, "human"); }

  undo() {
    let click = this.#done.pop();
    while (click && this.model.undone.has(click.id)) click = this.#done.pop();
    if (!click) return tell("There is no click of yours to take back on this page.");
    this.outbox.add({ id: crypto.randomUUID(), undo: click.id, who: click.who });
    this.#taken.push(click);
    if (click.untold) this.dispatchEvent(new CustomEvent("asked again", { detail: click }));
    this.#follow(click, "taken back");
  }

  redo() {
    const click = this.#taken.pop();
    if (!click) return tell("There is nothing to do again.");
    const again = { ...click, id: crypto.randomUUID() };
    this.#done.push(again);
    if (click.untold) {
      this.#follow(again, "again");
      this.#leave(again); // and on to the next question
    } else {
      this.outbox.add(again);
      this.#follow(again, "clicked again");
    }
  }

  /** Nobody can tell what is at a place that was asked; `untold` names it for the log. */
  cannotTell({ clip, frame, y, x }, untold) {
    const mark = { id: crypto.randomUUID(), clip, frame, y, x, untold, ask: untold, who: this.who() };
    this.#leave(mark);
    this.#done.push(mark);
    this.#taken = [];
    this.#changed();
  }

  /** Write down that a place is left without an answer: a line that takes itself back. */
  #leave(mark) {
    this.outbox.add({ id: mark.id, undo: mark.id, who: mark.who, ask: mark.untold });
    this.dispatchEvent(new CustomEvent("left", { detail: mark }));
  }

  #make(where, number, source) {
    const [clip, frame] = this.browse.place;
    const click = { id: crypto.randomUUID(), clip, frame, ...where, class: number, source, who: this.who() };
    this.outbox.add(click);
    this.#done.push(click);
    this.#taken = [];
    this.dispatchEvent(new CustomEvent("made", { detail: click }));
    this.#changed();
  }

  /** Show the frame on which something was done. */
  #follow({ clip, frame, class: number, untold }, what) {
    const name = untold ? "Cannot tell" : this.model.classes[number].name;
    say(`${name} ${what}`);
    this.#changed();
    const [c, f] = this.browse.place;
    if (clip === c && frame === f) return;
    tell(`${name} ${what} on ${this.model.clips[clip].name}, ${this.model.frameName(clip, frame)}.`);
    this.browse.go([clip, frame]);
  }

  #changed() { this.dispatchEvent(new Event("changed")); }
}
