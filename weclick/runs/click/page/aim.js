// Where the person points: the mouse over the frame, or the keyboard's cursor.

import { say } from "./told.js";

const STEP_PX = 10; // of the screen
const mark = document.getElementById("cursor");

export class Aim {
  constructor(view) {
    this.view = view;
    this.pointer = null; // [y, x]
    this.cursor = null; // [y, x]
    const { stage } = view;
    stage.addEventListener("pointermove", ({ clientX, clientY }) => { this.pointer = view.pixel(clientX, clientY); });
    stage.addEventListener("pointerleave", () => { this.pointer = null; });
    stage.addEventListener("pointerdown", () => this.hide());
  }

  /** The cursor, or else the pointer, or else the middle of the frame. */
  get place() {
    return this.cursor ?? this.pointer ?? [Math.floor(this.view.height / 2), Math.floor(this.view.width / 2)];
  }

  move(dy, dx, exact) {
    const { view } = this;
    const pixels = exact ? 1 : Math.max(1, Math.round(STEP_PX / view.scale));
    const within = (at, side) => Math.min(Math.max(at, 0), side - 1);
    const [y, x] = this.place;
    this.cursor = [within(y + dy * pixels, view.height), within(x + dx * pixels, view.width)];
    view.reveal(...this.cursor);
    this.draw();
    say(`x ${this.cursor[1]}, y ${this.cursor[0]}`);
  }

  hide() {
    this.cursor = null;
    this.draw();
  }

  draw() {
    mark.hidden = !this.cursor;
    if (!this.cursor) return;
    const [x, y] = this.view.place(...this.cursor);
    mark.style.transform = `translate(${x}px, ${y}px)`;
  }

  /** Zoom; what one points at stays where it is. */
  zoom(factor) {
    this.view.moved = true;
    const at = this.cursor ?? this.pointer;
    this.view.zoom(factor, ...(at ? this.view.place(...at) : []));
    this.draw();
  }

  fit() {
    this.view.moved = false;
    this.view.fit();
    this.draw();
  }
}
