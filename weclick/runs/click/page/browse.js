// Which frame is in view, and how one comes to the next.

import { Refused, pause } from "./api.js";
import { Frames } from "./frames.js";
import { tell } from "./told.js";

const AHEAD = 3; // frames of the queue
const ON = 6; // single frames the way the person steps
const SLOW_MS = 200;
const AGAIN_MS = 1500;

export class Browse extends EventTarget {
  #frames = new Frames();
  #visited = [];
  #stop = new AbortController();

  constructor(model, view, panel) {
    super();
    Object.assign(this, { model, view, panel });
    this.place = null; // [clip, frame]
    this.expected = []; // places that come next whatever the queue says
    this.turn = 0; // counts changes of place, so that what comes late is dropped
  }

  /** Ends when another frame is wanted. */
  get signal() { return this.#stop.signal; }

  /** Show a frame. `since` is when the person asked, `step` the way she goes. */
  async go(next, { since = performance.now(), step = 0, keep = true } = {}) {
    const turn = ++this.turn;
    if (keep && this.place) this.#visited.push(this.place);
    this.place = next;
    this.#stop.abort();
    this.#stop = new AbortController();
    this.panel.at(...next);
    this.dispatchEvent(new Event("left"));
    const wait = document.getElementById("wait");
    const slow = setTimeout(() => { wait.hidden = false; }, SLOW_MS);
    try {
      const bitmap = this.#frames.peek(next) ?? await this.#frames.get(next, this.#likely(step));
      if (turn !== this.turn) return;
      this.view.show(bitmap, this.model.on(...next));
      this.view.stage.dataset.shown = next.join("/");
      this.view.clock("frame", since);
      this.#frames.get(next, this.#likely(step)); // goes on with what is likely next
      this.dispatchEvent(new Event("shown"));
    } catch (error) {
      if (turn !== this.turn || error.name === "AbortError") return;
      tell(error instanceof Refused ? error.message : "The server is away.");
      this.#again(turn, next);
    } finally {
      clearTimeout(slow);
      if (turn === this.turn) wait.hidden = true;
    }
  }

  next(since) {
    const to = this.#following(this.place);
    if (to) this.go(to, { since });
    else tell("Every frame of the queue has a click. Stop here and train, or step on with , and . (--per-clip asks for more).");
  }

  step(by, since) {
    const [clip, frame] = this.place;
    const to = Math.min(Math.max(frame + by, 0), this.model.clips[clip].frames - 1);
    if (to !== frame) this.go([clip, to], { since, step: by });
  }

  clip(by) {
    const count = this.model.clips.length;
    const clip = (this.place[0] + by + count) % count;
    this.go(this.model.queue.find(([each]) => each === clip) ?? [clip, 0]);
  }

  back() {
    const before = this.#visited.pop();
    if (before) this.go(before, { keep: false });
  }

  async #again(turn, next) {
    await pause(AGAIN_MS);
    if (turn === this.turn) this.go(next, { keep: false });
  }

  /** What is likely to be looked at after this frame. */
  #likely(step) {
    const [clip, frame] = this.place;
    const found = [...this.expected];
    if (step) for (let i = 1; i <= ON; i++) found.push([clip, frame + i * step]);
    let at = this.place;
    for (let i = 0; i < AHEAD && at; i++) if ((at = this.#following(at))) found.push(at);
    if (!step) found.push([clip, frame + 1], [clip, frame - 1], [clip, frame + 2], [clip, frame + 3]);
    return found.filter(([c, f]) => f >= 0 && f < this.model.clips[c].frames);
  }

  /** The next frame of the queue that nobody has clicked on; behind the end the first one left. */
  #following(from) {
    const { queue, frames } = this.model;
    const at = queue.findIndex(([clip, frame]) => clip === from[0] && frame === from[1]);
    for (let i = 1; i <= queue.length; i++) {
      const [clip, frame] = queue[(at + i) % queue.length];
      const same = clip === from[0] && frame === from[1];
      if (!same && !frames.has(this.model.key(clip, frame))) return [clip, frame];
    }
    return null;
  }
}
