// The canvases, one above the other: frame, prediction, points, and the stroke that is being drawn.
// css px = scale * image px + offset. A frame's pixel (y, x) covers x..x+1, y..y+1, so a press hits floor().

const LARGEST = 64; // css px for a px of the frame
const RADIUS = 6;
const OFFSET = 0.295; // device px; a frame that is fitted has borders at 0 or 0.5, where browsers round as they like

export class View {
  constructor(stage, classes) {
    this.stage = stage;
    this.classes = classes;
    this.canvases = Object.fromEntries([...stage.querySelectorAll("canvas")].map((each) => [each.id, each]));
    this.pens = Object.fromEntries(Object.entries(this.canvases).map(([id, each]) => [id, each.getContext("2d")]));
    this.width = this.height = 0; // of the frame
    this.scale = 1;
    this.x = this.y = 0;
    this.bitmap = this.guess = null;
    this.clicks = [];
    this.ghosts = [];
    this.hidden = false;
    this.who = "";
    this.#stamps = new Map();
    const observer = new ResizeObserver(([entry]) => this.#resize(entry));
    try {
      observer.observe(this.canvases.picture, { box: "device-pixel-content-box" }); // also tells another ratio
    } catch {
      observer.observe(this.canvases.picture); // Safari
    }
  }

  #stamps;

  /** Show a frame. The view stays as it is unless the frame has another size. */
  show(bitmap, clicks) {
    const other = !this.bitmap || bitmap.width !== this.width || bitmap.height !== this.height;
    this.bitmap = bitmap;
    [this.width, this.height] = [bitmap.width, bitmap.height];
    this.guess = null;
    this.ghosts = [];
    this.clicks = clicks;
    if (other) this.fit();
    else this.draw();
  }

  fit() {
    const { clientWidth: w, clientHeight: h } = this.canvases.picture;
    if (!this.width || !w) return;
    this.scale = this.#fitting();
    this.x = (w - this.scale * this.width) / 2;
    this.y = (h - this.scale * this.height) / 2;
    this.#hold();
    this.draw();
  }

  /** Zoom by a factor; the place (css px in the stage) stays where it is. */
  zoom(factor, x = this.canvases.picture.clientWidth / 2, y = this.canvases.picture.clientHeight / 2) {
    const least = Math.min(this.#fitting(), 1) / 2;
    const scale = Math.min(Math.max(this.scale * factor, least), LARGEST);
    this.x = x - (x - this.x) * scale / this.scale;
    this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale;
    this.#hold();
    this.draw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#hold();
    this.draw();
  }

  /** The pixel of the frame under a place of the window, or null beside the frame. */
  pixel(clientX, clientY) {
    const box = this.canvases.picture.getBoundingClientRect();
    const x = Math.floor((clientX - box.left - this.x) / this.scale);
    const y = Math.floor((clientY - box.top - this.y) / this.scale);
    return x >= 0 && y >= 0 && x < this.width && y < this.height ? [y, x] : null;
  }

  /** The middle of a pixel in css px of the stage. */
  place(y, x) { return [this.x + this.scale * (x + 0.5), this.y + this.scale * (y + 0.5)]; }

  /** Move the view so that a pixel is in it. */
  reveal(y, x) {
    const [px, py] = this.place(y, x);
    const { clientWidth: w, clientHeight: h } = this.canvases.picture;
    const by = (at, side) => Math.max(24 - at, 0) + Math.min(side - 24 - at, 0);
    const [dx, dy] = [by(px, w), by(py, h)];
    if (dx || dy) this.pan(dx, dy);
  }

  draw() {
    this.#picture("picture", this.bitmap);
    this.#picture("guess", this.guess);
    this.drawPoints();
    this.stage.dispatchEvent(new Event("drawn"));
  }

  drawGuess(bitmap) {
    this.guess = bitmap;
    this.#picture("guess", bitmap);
  }

  drawPoints() {
    const pen = this.#clear("points");
    if (this.hidden) return;
    for (const ghost of this.ghosts) this.#point(pen, ghost, "ghost");
    for (const click of this.clicks) this.#click(pen, click);
  }

  /** Draw one more click; the others stay as they are. */
  add(click) {
    this.clicks.push(click);
    if (!this.hidden) this.#click(this.pens.points, click);
  }

  remove(id) {
    this.clicks = this.clicks.filter((click) => click.id !== id);
    this.drawPoints();
  }

  /** Measure how long it takes from `since` until the browser has painted what was just drawn. */
  clock(name, since) {
    const painted = new MessageChannel();
    painted.port1.onmessage = () => performance.measure(name, { start: since, end: performance.now() });
    requestAnimationFrame(() => painted.port2.postMessage(0)); // it is read when this picture is painted
  }

  /** The scribble that is being drawn: [[y, x], ...]. */
  drawStroke(points, number) {
    const pen = this.#clear("stroke");
    if (points.length) this.#line(pen, points, number);
  }

  #click(pen, click) {
    if (click.points) this.#line(pen, click.points, click.class);
    else this.#point(pen, click, click.who === this.who ? "own" : "other");
  }

  #point(pen, { y, x, class: number }, kind) {
    const stamp = this.#stamp(number, kind);
    const [px, py] = this.place(y, x);
    const half = stamp.width / 2;
    pen.drawImage(stamp, Math.round(px * this.ratio - half), Math.round(py * this.ratio - half));
  }

  #line(pen, points, number) {
    pen.save();
    pen.scale(this.ratio, this.ratio);
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    for (const [y, x] of points) pen.lineTo(...this.place(y, x));
    for (const [width, color] of [[8, "#fff"], [6, "#000a"], [4, this.#color(number)]]) {
      pen.lineWidth = width;
      pen.strokeStyle = color;
      pen.stroke();
    }
    pen.restore();
  }

  /** A point as a small picture: drawing 5,000 of these takes 10 ms, 5,000 paths ten times as long. */
  #stamp(number, kind) {
    const key = `${number} ${kind}`;
    if (!this.#stamps.has(key)) this.#stamps.set(key, this.#makeStamp(number, kind));
    return this.#stamps.get(key);
  }

  #makeStamp(number, kind) {
    const stamp = document.createElement("canvas");
    const side = RADIUS + 4;
    stamp.width = stamp.height = 2 * Math.ceil(side * this.ratio);
    const pen = stamp.getContext("2d");
    pen.translate(stamp.width / 2, stamp.height / 2);
    pen.scale(this.ratio, this.ratio);
    const path = new Path2D();
    if (kind === "other") {
      for (const [x, y] of [[0, -1], [1, 0], [0, 1], [-1, 0]]) path.lineTo(x * (RADIUS + 1), y * (RADIUS + 1));
      path.closePath();
    } else {
      path.arc(0, 0, RADIUS, 0, 2 * Math.PI);
    }
    const rings = kind === "ghost" ? [[6, "#0008"], [4.5, "#fff"], [3, this.#color(number)]] : [[4.5, "#000a"], [2.5, "#fff"]];
    for (const [width, color] of rings) {
      pen.lineWidth = width;
      pen.strokeStyle = color;
      if (kind === "ghost" && width === 3) pen.setLineDash([3.4, 2.9]);
      pen.stroke(path);
    }
    if (kind !== "ghost") {
      pen.fillStyle = this.#color(number);
      pen.fill(path);
    }
    return stamp;
  }

  #color(number) { return `rgb(${this.classes[number].color.join(" ")})`; }

  #picture(id, bitmap) {
    const pen = this.#clear(id);
    if (!bitmap) return;
    const scale = this.scale * this.ratio;
    pen.setTransform(scale, 0, 0, scale, this.x * this.ratio, this.y * this.ratio);
    pen.imageSmoothingEnabled = id === "picture" && scale < 1.5; // pixels are to be told apart when they are large
    pen.drawImage(bitmap, 0, 0);
  }

  #clear(id) {
    const { width, height } = this.canvases[id];
    this.pens[id].setTransform(1, 0, 0, 1, 0, 0);
    this.pens[id].clearRect(0, 0, width, height);
    return this.pens[id];
  }

  #fitting() {
    const { clientWidth: w, clientHeight: h } = this.canvases.picture;
    return Math.min((w - 24) / this.width, (h - 24) / this.height);
  }

  /** Keep a part of the frame in view, and borders of its pixels off the middles of the screen's pixels. */
  #hold() {
    const { clientWidth: w, clientHeight: h } = this.canvases.picture;
    const edge = 40;
    const off = (at) => (Math.round(at * this.ratio - OFFSET) + OFFSET) / this.ratio;
    this.x = off(Math.min(Math.max(this.x, edge - this.scale * this.width), w - edge));
    this.y = off(Math.min(Math.max(this.y, edge - this.scale * this.height), h - edge));
  }

  #resize(entry) {
    const first = !this.ratio;
    const box = entry.contentBoxSize[0];
    const exact = entry.devicePixelContentBoxSize?.[0];
    const side = (name) => {
      const rounded = Math.round(box[name] * devicePixelRatio);
      // an emulated ratio is not in the exact size
      return exact && Math.abs(exact[name] - rounded) <= 1 ? exact[name] : rounded;
    };
    const [width, height] = [side("inlineSize"), side("blockSize")];
    if (!width || !height) return;
    for (const each of Object.values(this.canvases)) [each.width, each.height] = [width, height];
    this.ratio = width / box.inlineSize;
    this.#stamps.clear();
    if (first || !this.moved) this.fit();
    else this.draw();
  }
}
