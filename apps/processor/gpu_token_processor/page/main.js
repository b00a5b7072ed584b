// Brings it together: the address says what is shown, the API says the numbers, and the page shows them.

import {SignedOutError, ask, askFile, askGpus, askHealth, now, token} from "./api.js";
import {at, keep, make, setHidden, setText} from "./dom.js";
import {rangeName, untilSeconds} from "./format.js";
import {follow} from "./live.js";
import {showOverTime} from "./overtime.js";
import {GROUPS, RANGES, STEPS, address, bounds, isPossible, readQuestion, stepOf} from "./question.js";
import {
  showBudgets, showClasses, showCoverage, showGpus, showGroups, showHealth, showRefused, showTotals,
} from "./sections.js";

// At most so often; and the server is left in peace for five times as long as it took to answer.
const SHORTEST_PAUSE_MS = 2_000, PAUSES = 5;
const HEALTH_MS = 10_000;
// A range that goes on costs more also where nothing is stored.
const TIME_GOES_ON_MS = 60_000;
const BASIS = "leased";

let question = readQuestion(location.search);
// Of what is asked at present; a new question ends it.
let asking = new AbortController();
let following = null;
let shownQuestion = null;
let unwell = [], failures = [];

const say = text => setText(at("said"), text);

function showTrouble() {
  const reasons = [...failures, ...unwell];
  setHidden(at("trouble"), !reasons.length);
  setHidden(at("retry"), !failures.length);
  keep(at("reasons"), reasons, {
    key: reason => reason, create: () => make("li"), update: setText,
  });
}

async function load() {
  const {signal} = asking, asked = question;
  const range = bounds(asked, now());
  const step = stepOf(range, asked.step);
  const isNew = shownQuestion !== asked;
  showControls(range, step);
  const selected = {
    start: new Date(range.start).toISOString(), end: new Date(range.end).toISOString(),
    group_by: asked.group, basis: BASIS,
  };
  if (isNew) at("content").ariaBusy = "true";
  const parts = [
    [Promise.all([ask("cost", {...selected, step}, signal), ask("cost", selected, signal)]), ([byStep, total]) => {
      showTotals(total);
      showCoverage(total);
      showOverTime({bounds: range, step, group: asked.group, byStep, total});
      showGroups(total, asked.group, isNew);
      showClasses(total);
      setText(at("shown"), `${rangeName(range.start, range.end)}, by ${step}; as of ${untilSeconds(now())}`);
    }],
    [askGpus(signal), gpus => showGpus(gpus, isNew)],
    [ask("dead-letters", {}, signal), showRefused],
    [ask("budgets", {}, signal).catch(noneIfUnknown), showBudgets],
  ];
  const results = await Promise.allSettled(parts.map(async ([answer, show]) => {
    const found = await answer;
    if (!signal.aborted) show(found);
  }));
  if (signal.aborted) return;
  at("content").ariaBusy = "false";
  const errors = results.filter(one => one.status === "rejected").map(one => one.reason);
  if (errors.some(error => error instanceof SignedOutError)) {
    signOut(token.get() !== null);
    return;
  }
  failures = [...new Set(errors.map(sentence))];
  // What has not come does not come any more.
  for (const number of at("numbers").querySelectorAll("data")) if (number.textContent === "…") setText(number, "–");
  showTrouble();
  if (isNew && !failures.length) {
    shownQuestion = asked;
    say(`Costs of ${rangeName(range.start, range.end)} are shown.`);
  } else if (failures.length) {
    say("The costs could not be asked for.");
  }
}

// A server of an earlier version has no budgets.
function noneIfUnknown(error) {
  if (error.status === 404) return null;
  throw error;
}

function sentence(error) {
  if (error.name === "TimeoutError") return "The server took too long to answer; a shorter range is quicker.";
  if (error instanceof TypeError) return "The server cannot be reached.";
  return error.message;
}

// What is new is asked for again and again, at a pace that the server can keep.
const again = {
  wanted: false,
  busy: false,
  async soon() {
    this.wanted = true;
    if (this.busy) return;
    this.busy = true;
    while (this.wanted && !document.hidden && following) {
      this.wanted = false;
      const begun = performance.now();
      await load();
      await new Promise(resolve =>
        setTimeout(resolve, Math.max(SHORTEST_PAUSE_MS, PAUSES * (performance.now() - begun))));
    }
    this.busy = false;
  },
};

async function showWell() {
  try {
    const health = await askHealth();
    showHealth(health);
    unwell = health.reasons;
  } catch (error) {
    setText(at("health"), "no answer");
    at("health").className = "chip bad";
    unwell = [sentence(error)];
  }
  showTrouble();
}

// Controls

function showControls(range, step) {
  keep(at("ranges"), Object.keys(RANGES), {
    key: name => name,
    create: () => make("li", "", make("a")),
    update: (item, name) => {
      const link = item.firstElementChild;
      const isThis = question.range === name;
      setText(link, RANGES[name]);
      link.href = address({...question, ...(name === "custom" ? days(range) : {}), range: name, step: null});
      if (isThis) link.ariaCurrent = "true";
      else link.removeAttribute("aria-current");
    },
  });
  setHidden(at("custom"), question.range !== "custom");
  for (const id of ["first", "last"]) at(id).max = days({start: now(), end: now()}).end;
  if (question.range === "custom" && document.activeElement?.form !== at("custom")) {
    at("first").value = question.start;
    at("last").value = question.end;
  }
  showOptions(at("group"), Object.entries(GROUPS), question.group);
  const own = stepOf(range, null);
  showOptions(at("step"), [["", `by ${own}, as fits`], ...STEPS.map(name => [name, `by ${name}`])], question.step ?? "");
  for (const option of at("step").options) option.disabled = option.value !== "" && !isPossible(option.value, range);
  if (question.step && question.step !== step) at("step").value = "";
}

function showOptions(select, options, value) {
  keep(select, options, {
    key: ([name]) => name,
    create: ([name]) => Object.assign(make("option"), {value: name}),
    update: (option, [, text]) => setText(option, text),
  });
  if (select.value !== value) select.value = value;
}

const day = at => new Date(at).toISOString().slice(0, 10);
const days = ({start, end}) => ({start: day(start), end: day(end - 1)});

function go(search) {
  if (search !== location.search) history.pushState(null, "", search);
  question = readQuestion(search);
  askAnew();
}

function askAnew() {
  asking.abort();
  asking = new AbortController();
  return load();
}

at("ranges").addEventListener("click", event => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(new URL(link.href).search);
});
at("group").addEventListener("change", event => go(address({...question, group: event.target.value})));
at("step").addEventListener("change", event => go(address({...question, step: event.target.value || null})));
at("custom").addEventListener("submit", event => {
  event.preventDefault();
  go(address({...question, range: "custom", start: at("first").value, end: at("last").value, step: null}));
});
at("custom").addEventListener("input", () => {
  const isRange = at("first").value <= at("last").value;
  at("last").setCustomValidity(isRange ? "" : "The last day lies before the first one.");
});
addEventListener("popstate", () => {
  question = readQuestion(location.search);
  askAnew();
});
at("retry").addEventListener("click", () => {
  showWell();
  askAnew();
});

at("csv").addEventListener("click", async () => {
  const button = at("csv");
  if (button.ariaDisabled === "true") return;
  const {start, end} = bounds(question, now());
  button.ariaDisabled = "true";
  setText(button, "Making the CSV…");
  try {
    const file = await askFile("export/cost.csv", {
      start: new Date(start).toISOString(), end: new Date(end).toISOString(), group_by: question.group, basis: BASIS,
    });
    const link = make("a");
    link.href = URL.createObjectURL(file);
    link.download = `cost-by-${question.group}-${day(start)}-to-${day(end - 1)}.csv`;
    link.click();
    // Once the browser has begun to save it.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say("The CSV is downloaded.");
  } catch (error) {
    if (error instanceof SignedOutError) signOut(true);
    else {
      failures = [`No CSV: ${sentence(error)}`];
      showTrouble();
    }
  }
  button.ariaDisabled = "false";
  setText(button, "Download CSV");
});

// Signed in and out

function signOut(isWrong) {
  token.forget();
  following?.abort();
  following = null;
  failures = [];
  showTrouble();
  setHidden(at("wrong"), !isWrong);
  setHidden(at("numbers"), true);
  setHidden(at("login"), false);
  setHidden(at("forget"), true);
  setText(at("live"), "");
  at("token").ariaInvalid = String(isWrong);
  say(isWrong ? "This token is not the one." : "The API’s token is needed.");
  at("token").focus();
}

async function signIn() {
  setHidden(at("login"), true);
  setHidden(at("numbers"), false);
  setHidden(at("forget"), token.get() === null);
  shownQuestion = null;
  say("Costs are being asked for.");
  if (token.get() === null && await isRefused()) {
    signOut(false);
    return;
  }
  following = new AbortController();
  await askAnew();
  listen();
}

// One question before all others: without a token each would be refused, unless none is needed.
const isRefused = () => ask("dead-letters").then(() => false, error => error instanceof SignedOutError);

// Where nobody looks, nobody is told.
function listen() {
  if (!following) return;
  following.abort();
  following = new AbortController();
  if (document.hidden) return;
  follow({
    signal: following.signal,
    onUpdate: () => again.soon(),
    onState: isLive => setText(at("live"), isLive ? "live" : "asks every 10 s"),
  });
}

at("login").addEventListener("submit", event => {
  event.preventDefault();
  token.set(at("token").value.trim());
  at("token").value = "";
  signIn();
});
at("forget").addEventListener("click", () => signOut(false));
document.addEventListener("visibilitychange", listen);

setInterval(() => { if (!document.hidden) showWell(); }, HEALTH_MS);
setInterval(() => again.soon(), TIME_GOES_ON_MS);
showWell();
signIn();
