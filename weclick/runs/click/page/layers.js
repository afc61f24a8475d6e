// What machines say of the frame in view: ghosts of clicks nearby, and the prediction of the present net.
// Both take seconds, so they are asked for when a frame stays in view.

import { Refused, getImage, getJson, pause } from "./api.js";
import { tell } from "./told.js";

const SETTLE_MS = 150;
const SAME_PX = 12; // as in weclick/runs/click/ghosts.py

const one = (id) => document.getElementById(id);
const apart = (a, y, x) => Math.hypot(a.y - y, a.x - x);

export class Layers {
  #guessing = false;

  constructor(model, view, browse, hand) {
    Object.assign(this, { model, view, browse, hand });
    browse.addEventListener("shown", () => this.#settle(browse.turn, browse.signal));
    hand.addEventListener("made", ({ detail }) => this.#drop(detail));
    one("prediction").disabled = !model.prediction;
    this.#show([]);
  }

  /** Make the ghost that is nearest to a place a click. */
  confirm([y, x]) {
    const { ghosts } = this.view;
    if (!ghosts.length) return tell("No ghost here. They come from clicks at most five frames away.");
    this.#confirm(ghosts.reduce((best, ghost) => (apart(ghost, y, x) < apart(best, y, x) ? ghost : best)));
  }

  confirmAll() { for (const ghost of [...this.view.ghosts]) this.#confirm(ghost); }

  /** Show the prediction, or hide it. */
  togglePrediction() {
    if (!this.model.prediction) return tell("There is no student in the results yet.");
    this.#guess(!this.#guessing);
  }

  hidePrediction() { this.#guess(false); }

  #confirm(ghost) {
    this.#show(this.view.ghosts.filter((each) => each !== ghost));
    this.hand.click([ghost.y, ghost.x], performance.now(), { number: ghost.class, source: "ghost" });
  }

  #drop(click) {
    const left = this.view.ghosts.filter((ghost) => ghost.class !== click.class || apart(ghost, click.y, click.x) > SAME_PX);
    if (left.length < this.view.ghosts.length) this.#show(left);
  }

  #show(ghosts) {
    this.view.ghosts = ghosts;
    this.view.drawPoints();
    one("ghosts-text").textContent = ghosts.length ? `Ghosts ${ghosts.length}` : "Ghosts";
    one("ghosts").disabled = !ghosts.length;
  }

  async #settle(turn, signal) {
    this.#show([]);
    await pause(SETTLE_MS);
    if (turn !== this.browse.turn) return;
    if (this.#guessing) this.#predict(turn, signal);
    const { place } = this.browse;
    if (!this.model.hasNear(...place, this.model.reach)) return;
    try {
      const { ghosts } = await getJson(`/api/ghosts/${place.join("/")}`, signal);
      const fresh = (ghost) => !this.view.clicks.some((click) => click.class === ghost.class && apart(click, ghost.y, ghost.x) <= SAME_PX);
      if (turn === this.browse.turn) this.#show(ghosts.filter(fresh)); // clicks may have come meanwhile
    } catch (error) {
      if (error instanceof Refused) tell(error.message);
    }
  }

  #guess(on) {
    this.#guessing = on;
    one("prediction").setAttribute("aria-pressed", on);
    if (on) this.#predict(this.browse.turn, this.browse.signal);
    else this.view.drawGuess(null);
  }

  async #predict(turn, signal) {
    try {
      const bitmap = await getImage(`/api/prediction/${this.browse.place.join("/")}`, signal, "low");
      if (turn === this.browse.turn && this.#guessing) this.view.drawGuess(bitmap);
    } catch (error) {
      if (!(error instanceof Refused)) return;
      tell(error.message);
      this.#guess(false);
    }
  }
}
