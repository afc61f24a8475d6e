// What stands beside the frame: classes, counts, pace, the line of time, and whether all is saved.

import { CLASS_KEYS, keyLabel } from "./keys.js";

const PACE_MS = 5 * 60_000;
const FEW = 20; // fewer clicks of a class teach little

const one = (id) => document.getElementById(id);
const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

export class Panel {
  constructor(model, choose) {
    this.model = model;
    this.made = []; // times of this page's own clicks
    this.rows = model.classes.map((each, number) => classRow(each, number, choose));
    one("classes").append(...this.rows);
    one("root").textContent = model.root;
    one("clip").append(...model.clips.map(({ name }, at) => new Option(name, at)));
    new ResizeObserver(() => this.ticks()).observe(one("ticks"));
    new ResizeObserver(() => this.reveal()).observe(one("classes"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.ticks());
    this.waiting = false;
  }

  /** The class that the next click gets. */
  choose(number) {
    this.rows.forEach((row, at) => {
      row.setAttribute("aria-checked", at === number);
      row.tabIndex = at === number ? 0 : -1;
    });
    this.chosen = this.rows[number];
    this.reveal();
  }

  /** Keep the chosen class in view, also after a phone was turned. */
  reveal() { this.chosen?.scrollIntoView({ block: "nearest", inline: "nearest" }); }

  /** The frame that is shown. */
  at(clip, frame) {
    const { model } = this;
    this.place = [clip, frame];
    const count = model.clips[clip].frames;
    one("clip").value = clip;
    const range = one("at");
    range.max = count - 1;
    range.value = frame;
    range.disabled = count < 2;
    range.setAttribute("aria-valuetext", `${model.frameName(clip, frame)} of ${count}`);
    one("where").textContent = `${model.frameName(clip, frame)} · ${frame + 1} of ${count}`;
    one("stage").setAttribute("aria-label",
      `Frame ${model.frameName(clip, frame)} of clip ${model.clips[clip].name}, ${many(model.on(clip, frame).length, "click")}`);
    this.ticks();
  }

  /** Counts changed; all changes until the next picture of the screen are shown at once. */
  refresh() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#counts();
      this.pace();
      this.ticks();
    });
  }

  #counts() {
    const { model } = this;
    model.counts.forEach((count, number) => {
      const cell = this.rows[number].lastElementChild;
      cell.textContent = count.toLocaleString("en");
      cell.className = count === 0 ? "none" : count < FEW ? "few" : "";
      this.rows[number].setAttribute("aria-label", `${model.classes[number].name}, ${many(count, "click")}`);
    });
    const lacking = model.classes.filter((_, number) => !model.counts[number]).map(({ name }) => name);
    one("lacking").textContent = !lacking.length ? "Every class has a click."
      : lacking.length === model.classes.length ? "No class has a click yet."
      : `Without a click: ${lacking.slice(0, 6).join(", ")}${lacking.length > 6 ? ` and ${lacking.length - 6} more` : ""}.`;
    const total = model.counts.reduce((sum, count) => sum + count, 0);
    one("total").textContent = total.toLocaleString("en");
    one("clicked").textContent = model.frames.size.toLocaleString("en");
    const queued = model.queue.filter(([clip, frame]) => model.frames.has(model.key(clip, frame))).length;
    one("queued").textContent = `${queued} of ${many(model.queue.length, "queued frame")} ${queued === 1 ? "has" : "have"} a click.`;
    const people = [...model.people].filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
    one("people").textContent = people.length < 2 ? "" : people.map(([name, count]) => `${name || "unnamed"} ${count}`).join(" · ");
  }

  /** Clicks a minute over the last five, or since the first of these. */
  pace() {
    const now = performance.now();
    this.made = this.made.filter((time) => now - time < PACE_MS);
    const minutes = (now - this.made[0]) / 60_000;
    const known = this.made.length > 1 && minutes > 0.05;
    one("rate").textContent = known ? ((this.made.length - 1) / minutes).toFixed(0) : "–";
  }

  saved(count, away) {
    const text = away ? `${count} unsaved, kept here. ${away}` : count ? `${count} unsaved` : "All saved";
    one("saved-text").textContent = text;
    one("saved").dataset.state = away ? "away" : count ? "busy" : "saved";
  }

  /** The queue and the clicked frames of the clip on the line of time. */
  ticks() {
    const canvas = one("ticks");
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    if (!this.place || !w) return;
    const ratio = devicePixelRatio;
    [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const { model, place: [clip, frame] } = this;
    const last = Math.max(model.clips[clip].frames - 1, 1);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name);
    const at = (i) => 7 + (w - 14) * i / last;
    pen.fillStyle = color("--line");
    pen.beginPath();
    pen.roundRect(4, h / 2 - 2, w - 8, 4, 2);
    pen.fill();
    pen.fillStyle = color("--muted");
    for (const [c, i] of model.queue) if (c === clip) pen.fillRect(at(i) - 1, h / 2 - 5, 2, 10);
    pen.fillStyle = color("--accent");
    for (const key of model.frames.keys()) {
      const [c, i] = key.split("/").map(Number);
      if (c === clip) pen.fillRect(at(i) - 1.5, h / 2 - 8, 3, 16);
    }
    pen.fillStyle = color("--ink");
    pen.strokeStyle = color("--card");
    pen.lineWidth = 3;
    pen.beginPath();
    pen.arc(at(frame), h / 2, 6, 0, 2 * Math.PI);
    pen.stroke();
    pen.fill();
  }
}

function classRow({ name, color }, number, choose) {
  const row = document.createElement("button");
  row.setAttribute("role", "radio");
  const [swatch, label, cap, count] = ["i", "span", "kbd", "b"].map((tag) => document.createElement(tag));
  swatch.style.background = `rgb(${color.join(" ")})`;
  label.textContent = name;
  cap.textContent = CLASS_KEYS[number] ? keyLabel(CLASS_KEYS[number]) : "";
  row.append(swatch, label, cap, count);
  row.addEventListener("click", (event) => choose(number, event.isTrusted)); // an arrow only goes along the rows
  row.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const other = by && (by > 0 ? row.nextElementSibling : row.previousElementSibling);
    if (!other) return;
    event.preventDefault();
    other.focus();
    other.click();
  });
  return row;
}
