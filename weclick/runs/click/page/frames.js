// Frames as bitmaps. What the person looks at comes first; what nobody wants any more is dropped.

import { getImage } from "./api.js";

const KEPT_PX = 64e6; // 256 MB
const AT_ONCE = 3;

export class Frames {
  #kept = new Map(); // "clip/frame" -> bitmap, the oldest first
  #asked = new Map(); // "clip/frame" -> { stop, bitmap: promise }
  #ahead = [];

  /** A bitmap if it is here. */
  peek(place) {
    const key = place.join("/");
    const bitmap = this.#kept.get(key);
    if (bitmap) {
      this.#kept.delete(key);
      this.#kept.set(key, bitmap);
    }
    return bitmap;
  }

  /** The bitmap of the frame that is to be seen now. Requests that serve neither it nor `ahead` are dropped. */
  async get(place, ahead) {
    this.#ahead = ahead.map((each) => each.join("/"));
    const key = place.join("/");
    for (const [other, { stop }] of this.#asked) {
      if (other !== key && !this.#ahead.includes(other)) stop.abort();
    }
    try {
      return this.peek(place) ?? await this.#ask(key, "high");
    } finally {
      this.#goOn();
    }
  }

  #goOn() {
    for (const key of this.#ahead) {
      if (this.#asked.size >= AT_ONCE) return;
      if (!this.#kept.has(key)) this.#ask(key, "low").then(() => this.#goOn(), () => {});
    }
  }

  #ask(key, priority) {
    const known = this.#asked.get(key);
    if (known) return known.bitmap;
    const stop = new AbortController();
    const bitmap = getImage(`/api/frame/${key}`, stop.signal, priority).then((made) => {
      this.#keep(key, made);
      return made;
    }).finally(() => {
      if (this.#asked.get(key)?.stop === stop) this.#asked.delete(key);
    });
    stop.signal.addEventListener("abort", () => this.#asked.delete(key));
    this.#asked.set(key, { stop, bitmap });
    return bitmap;
  }

  #keep(key, bitmap) {
    this.#kept.set(key, bitmap);
    let pixels = 0;
    for (const each of this.#kept.values()) pixels += each.width * each.height;
    for (const [oldest, each] of this.#kept) {
      if (pixels <= KEPT_PX || oldest === key) return;
      pixels -= each.width * each.height;
      this.#kept.delete(oldest); // not closed: it may be in view
    }
  }
}
