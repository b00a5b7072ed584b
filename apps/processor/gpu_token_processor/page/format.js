// Numbers and times as people read them.

const decimals = (least, most) => new Intl.NumberFormat("en", {minimumFractionDigits: least, maximumFractionDigits: most});
const WHOLE = decimals(0, 0), TENTHS = decimals(0, 1), CENTS = decimals(2, 2), FINE = decimals(4, 4);
const TINY = new Intl.NumberFormat("en", {maximumSignificantDigits: 3});
const NOTHING = "–";

const unlessNull = write => value => value == null ? NOTHING : write(value);

export const whole = unlessNull(value => WHOLE.format(value));
export const tenths = unlessNull(value => TENTHS.format(value));
export const hours = unlessNull(seconds => TENTHS.format(seconds / 3600));
// Cents, and more digits where cents would say nothing.
export const usd = unlessNull(value => {
  const size = Math.abs(value);
  return (size >= 1 || size === 0 ? CENTS : size >= 0.01 ? FINE : TINY).format(value);
});
export const dollars = unlessNull(value => `$${usd(value)}`);
export const percent = unlessNull(share =>
  share > 0 && share < 0.001 ? "under 0.1 %" : `${TENTHS.format(100 * share)} %`);

const inUtc = options => {
  const format = new Intl.DateTimeFormat("en-GB", {timeZone: "UTC", ...options});
  return at => format.format(at);
};
const date = inUtc({day: "numeric", month: "short", year: "numeric"});
const dayAndMonth = inUtc({day: "numeric", month: "short"});
const monthAndYear = inUtc({month: "short", year: "numeric"});
const clock = inUtc({hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
const seconds = inUtc({hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});

export const dateAndTime = at => `${date(at)}, ${seconds(at)}`;
export const untilSeconds = seconds;

// On an axis, and where the range need not be told.
export const stepMark = {
  hour: at => at % 86_400_000 ? clock(at) : dayAndMonth(at),
  day: dayAndMonth,
  month: monthAndYear,
};
// Alone.
export const stepName = {
  hour: at => `${date(at)}, ${clock(at)}`,
  day: date,
  month: monthAndYear,
};

export function rangeName(start, end) {
  const ends = end % 86_400_000 ? `${date(end)}, ${clock(end)}` : date(end - 1);
  return `${start % 86_400_000 ? `${date(start)}, ${clock(start)}` : date(start)} to ${ends} UTC`;
}
