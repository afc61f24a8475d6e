// Mouse, pen and touch. A press that does not move is a click; one that moves moves the frame, or draws a
// scribble; two fingers zoom; the wheel zooms.

const STILL_PX = 5;
const SCRIBBLE_POINTS = 500;

export function watchPointers(view, { place, scribbles, drawn, number, looked }) {
  const { stage } = view;
  const down = new Map(); // pointer id -> last event
  let press = null; // { pixel, x, y, moved, stroke }

  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event);
    if (down.size > 1) {
      view.drawStroke([], 0);
      press = null;
      return;
    }
    const pixel = view.pixel(event.clientX, event.clientY);
    const draws = scribbles() && event.button === 0 && pixel;
    press = { pixel, x: event.clientX, y: event.clientY, moved: false, button: event.button, stroke: draws ? [pixel] : null };
    event.preventDefault();
  });

  stage.addEventListener("pointermove", (event) => {
    const last = down.get(event.pointerId);
    if (!last) return;
    if (down.size === 2) pinch(last, event);
    else if (press) drag(last, event);
    down.set(event.pointerId, event);
  });

  const drag = (last, event) => {
    press.moved ||= Math.hypot(event.clientX - press.x, event.clientY - press.y) >= STILL_PX;
    if (!press.moved) return;
    if (!press.stroke) {
      view.moved = true;
      // from the press on, or the first pixels of the way would be lost
      const from = press.panned ? last : { clientX: press.x, clientY: press.y };
      press.panned = true;
      view.pan(event.clientX - from.clientX, event.clientY - from.clientY);
      return looked();
    }
    const pixel = view.pixel(event.clientX, event.clientY);
    const end = press.stroke.at(-1);
    if (pixel && (pixel[0] !== end[0] || pixel[1] !== end[1]) && press.stroke.length < SCRIBBLE_POINTS) {
      press.stroke.push(pixel);
      view.drawStroke(press.stroke, number());
    }
  };

  const pinch = (last, event) => {
    const other = [...down.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
    const box = stage.getBoundingClientRect();
    const middle = (a) => [(a.clientX + other.clientX) / 2 - box.left, (a.clientY + other.clientY) / 2 - box.top];
    const [from, to] = [middle(last), middle(event)];
    view.moved = true;
    view.pan(to[0] - from[0], to[1] - from[1]);
    if (apart(last) > 0) view.zoom(apart(event) / apart(last), ...to);
    looked();
  };

  const up = (event) => {
    down.delete(event.pointerId);
    if (!press || down.size) return;
    const { pixel, moved, stroke, button } = press;
    press = null;
    view.drawStroke([], 0);
    if (event.type === "pointercancel") return;
    if (stroke && stroke.length > 1) drawn(stroke);
    else if (!moved && pixel && button === 0) place(pixel, event.timeStamp);
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);
  stage.addEventListener("contextmenu", (event) => event.preventDefault());

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 30 : 1;
    view.moved = true;
    view.zoom(Math.exp(-event.deltaY * lines / 300), event.clientX - box.left, event.clientY - box.top);
    looked();
  }, { passive: false });
}
