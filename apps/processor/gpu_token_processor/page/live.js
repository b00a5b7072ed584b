// Hears from the server that there is something new. Without a stream it is asked every ten seconds.

import {SignedOutError, request} from "./api.js";

const POLL_MS = 10_000;
// The server says something every 15 seconds.
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 1_000, LONGEST_WAIT_MS = 60_000;

const pause = (ms, signal) => new Promise(resolve => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, {once: true});
});

// Until `signal` is aborted. `onState(isLive)` when that changes.
export async function follow({onUpdate, onState, signal}) {
  let isLive = null, waitMs = FIRST_WAIT_MS;
  const tell = state => { if (state !== isLive) onState(isLive = state); };
  const polling = setInterval(() => { if (!isLive) onUpdate(); }, POLL_MS);
  try {
    while (!signal.aborted) {
      try {
        await listen(signal, () => { tell(true); waitMs = FIRST_WAIT_MS; }, onUpdate);
      } catch (error) {
        if (error instanceof SignedOutError) return;
      }
      if (signal.aborted) return;
      tell(false);
      await pause(waitMs, signal);
      waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
    }
  } finally {
    clearInterval(polling);
  }
}

async function listen(signal, onOpen, onUpdate) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const response = await request("events", AbortSignal.any([signal, silence.signal]));
    if (!response.ok) throw new Error(response.statusText);
    onOpen();
    let text = "";
    for await (const part of parts(response.body.pipeThrough(new TextDecoderStream()))) {
      heard();
      const events = (text + part).split("\n\n");
      text = events.pop();
      if (events.some(event => event.startsWith("event: update"))) onUpdate();
    }
  } finally {
    clearTimeout(timer);
  }
}

// Not every browser can iterate over a stream.
async function* parts(stream) {
  const reader = stream.getReader();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    yield value;
  }
}
