// One fixed table of keys; `?` shows it. Classes have 1 to 9, then the letters that no action has.

const ACTIONS = [
  ["next", "Next frame of the queue", ["Space", "N"]],
  ["back", "Back", ["B", "Backspace"]],
  ["earlier", "One frame back", [","]],
  ["later", "One frame on", ["."]],
  ["clipBefore", "Clip before", ["PageUp"]],
  ["clipAfter", "Clip after", ["PageDown"]],
  ["undo", "Undo your last click", ["Z", "Ctrl+Z"]],
  ["redo", "Redo", ["Y", "Shift+Z", "Ctrl+Y", "Ctrl+Shift+Z"]],
  ["left", "Move the cursor", ["ArrowLeft"]],
  ["right", "", ["ArrowRight"]],
  ["up", "", ["ArrowUp"]],
  ["down", "", ["ArrowDown"]],
  ["leftOne", "Move it by one pixel", ["Shift+ArrowLeft"]],
  ["rightOne", "", ["Shift+ArrowRight"]],
  ["upOne", "", ["Shift+ArrowUp"]],
  ["downOne", "", ["Shift+ArrowDown"]],
  ["put", "Click at the cursor", ["Enter"]],
  ["zoomIn", "Zoom in", ["+", "="]],
  ["zoomOut", "Zoom out", ["-"]],
  ["fit", "Whole frame", ["0"]],
  ["ghost", "Confirm the nearest ghost", ["G"]],
  ["ghosts", "Confirm all ghosts", ["Shift+G"]],
  ["prediction", "What the net predicts", ["P"]],
  ["scribble", "Scribbles or clicks", ["S"]],
  ["ask", "Answer what the net asks, or stop", ["Q"]],
  ["cannotTell", "Cannot tell what is at the dot", ["X"]],
  ["hide", "Hide points", ["H"]],
  ["help", "This table", ["?"]],
];
const SHOWN = { redo: ["Y", "Shift+Z"], leftOne: ["Shift", "←", "→", "↑", "↓"] }; // the others are said by these

const TAKEN = new Set(ACTIONS.flatMap(([, , keys]) => keys));
const LETTERS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
const PLAIN = [..."123456789", ...LETTERS].filter((key) => !TAKEN.has(key));
const SHIFTED = LETTERS.map((letter) => `Shift+${letter}`).filter((key) => !TAKEN.has(key));

/** The key of each class; none for those behind the last key. */
export const CLASS_KEYS = [...PLAIN, ...SHIFTED];

const SYMBOLS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", "-": "−" };

/** How a key is shown. */
export const keyLabel = (key) => key.split("+").map((part) => SYMBOLS[part] ?? part).join("+") || "+";

/** The name of a pressed key in the words of the table. */
export function keyName(event) {
  let { key } = event;
  if (key === " ") key = "Space";
  if (/^Key[A-Z]$/.test(event.code) && !/^[a-z]$/i.test(key)) key = event.code[3]; // another alphabet
  if (/^[a-z]$/i.test(key)) key = key.toUpperCase();
  const shift = event.shiftKey && (key.length > 1 || /[A-Z]/.test(key));
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${key}`;
}

/** Call actions[name](event) for a key of the table, or choose(class). */
export function watchKeys(actions, choose) {
  const table = new Map(ACTIONS.flatMap(([name, , keys]) => keys.map((key) => [key, actions[name]])));
  CLASS_KEYS.forEach((key, number) => table.set(key, () => choose(number)));
  addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches("input:not([type=range]), select")) return;
    const name = keyName(event);
    const onButton = target.matches("button") && ["Enter", "Space"].includes(name);
    const onRange = target.matches("[type=range], [role=radio]") && /Arrow|Page/.test(name);
    if (onButton || onRange || !table.has(name)) return;
    event.preventDefault();
    table.get(name)(event);
  });
}

/** Fill the list of the dialog. */
export function listKeys(list) {
  list.replaceChildren(...rows().map(([keys, text]) => {
    const row = document.createElement("div");
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    for (const key of keys) {
      const cap = document.createElement("kbd");
      cap.textContent = keyLabel(key);
      dt.append(cap);
    }
    dd.textContent = text;
    row.append(dt, dd);
    return row;
  }));
}

function rows() {
  const found = [[["1 – 9", "A", "C …"], "Choose a class"]];
  for (const [name, text, keys] of ACTIONS) {
    if (text) found.push([SHOWN[name] ?? [...keys], text]);
    else if (!name.endsWith("One")) found.at(-1)[0].push(...keys);
  }
  return found;
}
