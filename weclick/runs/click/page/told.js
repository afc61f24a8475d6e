// What is said to the person: on the screen for a moment, and to a screen reader.

const SHOWN_MS = 5000;
const one = (id) => document.getElementById(id);
let timer = 0;

export function tell(text) {
  const toast = one("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => { toast.hidden = true; }, SHOWN_MS);
}

export const say = (text) => { one("told").textContent = text; };
