// What is shown: a range of UTC, a dimension and a step, as the page's address says it.

export const RANGES = {
  hour: "Last hour", today: "Today", "7d": "7 days", "30d": "30 days", month: "This month", custom: "Custom",
};
export const GROUPS = {model: "Model", deployment: "Deployment", team: "Team", gpu: "GPU"};
export const STEPS = ["hour", "day", "month"];

const SECOND = 1000, HOUR = 3600 * SECOND, DAY = 24 * HOUR;
// A range that goes on ends at a moment that viewers share, so that the server answers them all at once.
const MOMENT = 10 * SECOND;
const MAX_STEPS = 1000;
const DATE = /^\d{4}-\d\d-\d\d$/;

const day = date => DATE.test(date ?? "") ? Date.parse(`${date}T00:00:00Z`) : NaN;
const startOfDay = at => at - at % DAY;
const startOfMonth = at => Date.UTC(new Date(at).getUTCFullYear(), new Date(at).getUTCMonth());

// Of an address such as ?range=7d&group=team&step=day; what it does not say, or says wrongly, takes its default.
export function readQuestion(search) {
  const said = new URLSearchParams(search);
  const one = (name, allowed, otherwise) => allowed.includes(said.get(name)) ? said.get(name) : otherwise;
  const question = {
    range: one("range", Object.keys(RANGES), "7d"),
    group: one("group", Object.keys(GROUPS), "model"),
    step: one("step", STEPS, null),
    start: said.get("start"),
    end: said.get("end"),
  };
  const isRange = day(question.start) <= day(question.end);
  return question.range === "custom" && !isRange ? {...question, range: "7d"} : question;
}

export function address({range, group, step, start, end}) {
  const said = new URLSearchParams({range, group});
  if (step) said.set("step", step);
  if (range === "custom") {
    said.set("start", start);
    said.set("end", end);
  }
  return `?${said}`;
}

// In milliseconds since 1970, [start, end). A custom range names its first and its last day.
export function bounds(question, now) {
  const moment = now - now % MOMENT;
  const starts = {
    hour: moment - HOUR,
    today: startOfDay(moment),
    "7d": startOfDay(moment) - 6 * DAY,
    "30d": startOfDay(moment) - 29 * DAY,
    month: startOfMonth(moment),
    custom: day(question.start),
  };
  const start = starts[question.range];
  const end = question.range === "custom" ? Math.min(day(question.end) + DAY, moment) : moment;
  // At midnight today is still empty, and a day to come always is.
  return {start, end: Math.max(end, start + MOMENT)};
}

// Up to three days by hour, up to 92 by day, else by month, unless another one is chosen.
export function stepOf({start, end}, chosen) {
  if (chosen && isPossible(chosen, {start, end})) return chosen;
  const days = (end - start) / DAY;
  return days <= 3 ? "hour" : days <= 92 ? "day" : "month";
}

export function isPossible(step, {start, end}) {
  return (end - start) / {hour: HOUR, day: DAY, month: 28 * DAY}[step] <= MAX_STEPS;
}

// When each step begins; the first one with the range.
export function beginnings({start, end}, step) {
  const found = [];
  for (let at = start; at < end; at = after(at, step)) found.push(at);
  return found;
}

function after(at, step) {
  if (step === "hour") return at - at % HOUR + HOUR;
  if (step === "day") return startOfDay(at) + DAY;
  return Date.UTC(new Date(at).getUTCFullYear(), new Date(at).getUTCMonth() + 1);
}
