// What the page knows: clips, classes, all clicks that count, and which of them are not yet on disk.

export class Model extends EventTarget {
  constructor(state) {
    super();
    Object.assign(this, state);
    this.forget();
    this.pending = new Map(); // id -> wish that the server has not confirmed
  }

  /** Begin anew: the log was replaced. */
  forget() {
    this.clicks = new Map(); // id -> click
    this.undone = new Set();
    this.frames = new Map(); // "clip/frame" -> Map of clicks
    this.counts = this.classes.map(() => 0);
    this.people = new Map(); // name -> clicks that count
  }

  key(clip, frame) { return `${clip}/${frame}`; }

  /** Clicks that count on a frame. */
  on(clip, frame) { return [...(this.frames.get(this.key(clip, frame))?.values() ?? [])]; }

  frameName(clip, frame) { return this.clips[clip].names?.[frame] ?? String(frame).padStart(5, "0"); }

  frameOf(clip, name) {
    const { names, frames } = this.clips[clip];
    const at = names ? names.indexOf(name) : Number(name);
    return at >= 0 && at < frames ? at : -1;
  }

  /** Frames at most `reach` away that have a click. */
  hasNear(clip, frame, reach) {
    for (let at = frame - reach; at <= frame + reach; at++) {
      if (at !== frame && this.frames.get(this.key(clip, at))?.size) return true;
    }
    return false;
  }

  /** Take an event, of the server or of this page. Returns whether anything changed. */
  apply(event) {
    if (event.undo) return event.undo !== event.id && this.#undo(event.undo);
    if (this.clicks.has(event.id)) return false;
    this.clicks.set(event.id, event);
    if (this.undone.has(event.id)) return false;
    this.#count(event, 1);
    this.dispatchEvent(new CustomEvent("added", { detail: event }));
    return true;
  }

  /** Take back an event that the server refused. */
  retract(event) {
    if (event.undo) {
      this.undone.delete(event.undo);
      const click = this.clicks.get(event.undo);
      if (!click) return;
      this.#count(click, 1);
      this.dispatchEvent(new CustomEvent("added", { detail: click }));
    } else if (this.clicks.has(event.id)) {
      this.#undo(event.id);
      this.clicks.delete(event.id);
      this.undone.delete(event.id);
    }
  }

  #undo(id) {
    if (this.undone.has(id)) return false;
    this.undone.add(id);
    const click = this.clicks.get(id);
    if (!click) return false;
    this.#count(click, -1);
    this.dispatchEvent(new CustomEvent("removed", { detail: click }));
    return true;
  }

  #count(click, by) {
    const key = this.key(click.clip, click.frame);
    if (!this.frames.has(key)) this.frames.set(key, new Map());
    if (by > 0) this.frames.get(key).set(click.id, click);
    else this.frames.get(key).delete(click.id);
    if (!this.frames.get(key).size) this.frames.delete(key);
    this.counts[click.class] += by;
    this.people.set(click.who, (this.people.get(click.who) ?? 0) + by);
  }
}
