// Requests to the server. The token comes in the address's fragment and goes back as a header.

const token = location.hash.slice(1);
const headers = { "x-weclick-token": token };

/** A request that the server answered with a refusal. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function answer(response) {
  if (response.ok) return response;
  let text = response.statusText;
  try {
    text = (await response.json()).error ?? text;
  } catch { /* no JSON: the status has to do */ }
  throw new Refused(response.status, text);
}

export async function getJson(path, signal) {
  return (await answer(await fetch(path, { headers, signal }))).json();
}

/** An image as a bitmap, decoded beside the page's own work. */
export async function getImage(path, signal, priority) {
  const response = await answer(await fetch(path, { headers, signal, priority }));
  return createImageBitmap(await response.blob());
}

export async function postJson(path, body) {
  const sent = { ...headers, "content-type": "application/json" };
  return (await answer(await fetch(path, { method: "POST", headers: sent, body: JSON.stringify(body) }))).json();
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
