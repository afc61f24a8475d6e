// Clicks on their way to the disk. They lie in the browser's own store until the server has said that they are
// on disk, so a server that is away, or a page that is closed, costs none.

import { Refused, pause, postJson } from "./api.js";

const BODY_LETTERS = 40_000; // the server takes 64 KiB
const LONGEST_PAUSE_MS = 4000;

export class Outbox extends EventTarget {
  #model;
  #prefix;
  #busy = false;

  constructor(model) {
    super();
    this.#model = model;
    this.#prefix = `weclick:${model.root_id}:`;
    this.away = "";
  }

  /** Take up what an earlier page left. */
  restore() {
    const kept = [];
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      if (key.startsWith(this.#prefix)) kept.push(JSON.parse(localStorage.getItem(key)));
    }
    kept.sort((a, b) => a.made - b.made);
    for (const wish of kept) {
      const event = this.#event(wish);
      if (!event) continue; // its clip is not here now; it waits for its return
      this.#model.pending.set(wish.id, wish);
      this.#model.apply(event);
    }
    this.flush();
  }

  /** Show an event at once, keep it, and send it. */
  add(event) {
    const wish = { ...event, made: Date.now() };
    if (!event.undo) {
      const model = this.#model;
      wish.clip = model.clips[event.clip].name;
      wish.frame = model.frameName(event.clip, event.frame);
      wish.class = model.classes[event.class].name;
    }
    this.#model.pending.set(wish.id, wish);
    try {
      localStorage.setItem(this.#prefix + wish.id, JSON.stringify(wish));
    } catch { /* full or forbidden: it still lies in the page's memory, and is counted as unsaved */ }
    this.#model.apply(event);
    this.#changed();
    this.flush();
  }

  /** Send all that waits, again and again until it is on disk. */
  async flush() {
    if (this.#busy) return;
    this.#busy = true;
    for (let wait = 250; this.#sendable().length; ) {
      try {
        await this.#send();
        wait = 250;
        this.#tell("");
      } catch (error) {
        if (error instanceof Refused && error.status === 409) {
          location.reload(); // clips or classes changed; what waits is kept
          return;
        }
        this.#tell(error instanceof Refused ? error.message : "The server is away.");
        await pause(wait);
        wait = Math.min(2 * wait, LONGEST_PAUSE_MS);
      }
    }
    this.#busy = false;
  }

  #sendable() { return [...this.#model.pending.values()].filter((wish) => this.#event(wish)); }

  async #send() {
    const waiting = this.#sendable();
    const { who } = waiting[0];
    const wishes = [];
    let letters = 0;
    for (const wish of waiting) {
      const event = { ...this.#event(wish), age_ms: Date.now() - wish.made };
      letters += JSON.stringify(event).length;
      if (wish.who !== who || (wishes.length && letters > BODY_LETTERS)) break;
      wishes.push(event);
    }
    const { answers } = await postJson("/api/clicks", { digest: this.#model.digest, who, wishes });
    for (const { id, refused } of answers) {
      const wish = this.#model.pending.get(id);
      if (!wish) continue;
      this.#model.pending.delete(id);
      localStorage.removeItem(this.#prefix + id);
      if (refused) {
        this.#model.retract(this.#event(wish));
        this.dispatchEvent(new CustomEvent("refused", { detail: { why: refused, id } }));
      }
    }
    this.#changed();
  }

  /** A kept wish as an event with today's indexes; null if its clip, frame or class is not here. */
  #event({ made, ...wish }) {
    if (wish.undo) return wish;
    const clip = this.#model.clips.findIndex(({ name }) => name === wish.clip);
    const number = this.#model.classes.findIndex(({ name }) => name === wish.class);
    const frame = clip < 0 ? -1 : this.#model.frameOf(clip, wish.frame);
    return frame < 0 || number < 0 ? null : { ...wish, clip, frame, class: number };
  }

  #tell(away) {
    if (away === this.away) return;
    this.away = away;
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event("changed")); }
}
