// Asks the API. The token lives as long as the tab, and goes nowhere but into the header.

const ANSWER_MS = 35_000;
const TOKEN = "token";

export class SignedOutError extends Error {}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: text => sessionStorage.setItem(TOKEN, text),
  forget: () => sessionStorage.removeItem(TOKEN),
};

// How far the server's clock is ahead of this one: ranges end with the server's.
let aheadMs = 0;
export const now = () => Date.now() + aheadMs;

export async function request(path, signal) {
  const sent = token.get();
  const response = await fetch(path, {headers: sent ? {Authorization: `Bearer ${sent}`} : {}, signal, cache: "no-store"});
  const date = Date.parse(response.headers.get("date") ?? "");
  // The header has whole seconds.
  if (date && Math.abs(date - now()) > 2000) aheadMs = date - Date.now();
  if (response.status === 401) throw new SignedOutError();
  return response;
}

const query = parameters => new URLSearchParams(Object.entries(parameters).filter(([, value]) => value != null));

const inTime = signal => AbortSignal.any([AbortSignal.timeout(ANSWER_MS), ...(signal ? [signal] : [])]);

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return Object.assign(new Error(body.detail ?? response.statusText), {status: response.status});
}

export async function ask(path, parameters = {}, signal = undefined) {
  const response = await request(`${path}?${query(parameters)}`, inTime(signal));
  if (!response.ok) throw await problem(response);
  return response.json();
}

// Also where it says that something is wrong, with status 503.
export async function askHealth(signal) {
  const response = await request("health", inTime(signal));
  if (!response.ok && response.status !== 503) throw await problem(response);
  return response.json();
}

// All pages of them.
export async function askGpus(signal) {
  const found = [];
  let cursor;
  do {
    const page = await ask("gpu/info", {limit: 1000, cursor}, signal);
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return found;
}

// An export takes as long as it takes.
export async function askFile(path, parameters) {
  const response = await request(`${path}?${query(parameters)}`);
  if (!response.ok) throw await problem(response);
  return response.blob();
}
