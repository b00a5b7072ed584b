// Cost over time: the chart, what is stacked in it, and the same as a table.

import {StackedBars} from "./chart.js";
import {at, keep, make, nameCell, numberCell, setCell, setHidden, setName, setNumber, setText} from "./dom.js";
import {dollars, rangeName, stepMark, stepName, usd, whole} from "./format.js";
import {GROUPS, beginnings} from "./question.js";

const MOST_STACKED = 8;
const MOST_LINES = 2000;
const PICO_PER_USD = 1e12;
export const UNNAMED = "not named";
export const IDLE = {
  loaded: "Idle: deployments without tokens", fleet: "Idle: GPUs of no deployment", unreported: "Leased, not reported",
};

let shown = null, readAt = null;
const bars = new StackedBars(at("chart"), index => {
  readAt = index;
  showReadout();
});
at("time-details").addEventListener("toggle", () => showTable());

export const nameOf = (row, group) => row.key[group] ?? UNNAMED;

// `byStep` and `total` are two answers of /cost about the same: with steps, and without.
export function showOverTime({bounds, step, group, byStep, total}) {
  const starts = beginnings(bounds, step);
  const series = stacked(starts, group, byStep, total).filter(one => one.total > 0);
  const costs = new Map(byStep.steps.map(one => [Date.parse(one.start), one.cost_usd]));
  shown = {bounds, step, group, byStep, total, starts, series, costs: starts.map(start => costs.get(start) ?? 0)};
  const isEmpty = !(total.total.cost_usd > 0);
  setHidden(at("nothing"), !isEmpty);
  setHidden(at("figure"), isEmpty);
  showLegend();
  if (!isEmpty) {
    bars.show({marks: starts.map(stepMark[step]), series});
    setText(at("summary"), summary());
  }
  if (readAt !== null && readAt >= starts.length) readAt = null;
  showReadout();
  showTable();
}

// From the bottom: groups by what they cost, all others as one, and what nobody used.
function stacked(starts, group, byStep, total) {
  const place = new Map(starts.map((start, index) => [start, index]));
  const groups = new Map();
  for (const row of [...total.rows].sort((one, other) => other.cost_usd - one.cost_usd)) {
    groups.set(nameOf(row, group), {total: row.cost_usd ?? 0, values: starts.map(() => 0)});
  }
  for (const row of byStep.rows) {
    groups.get(nameOf(row, group)).values[place.get(Date.parse(row.start))] = row.cost_usd ?? 0;
  }
  const all = [...groups].map(([name, one]) => ({name, ...one}));
  const first = all.slice(0, all.length > MOST_STACKED + 1 ? MOST_STACKED : MOST_STACKED + 1);
  const rest = all.slice(first.length);
  const series = first.map((one, index) => ({...one, look: index < MOST_STACKED ? `s${index + 1}` : "others"}));
  if (rest.length) series.push({
    name: `${rest.length} others`, look: "others", total: sum(rest.map(one => one.total)),
    values: starts.map((_, index) => sum(rest.map(one => one.values[index]))),
  });
  for (const [kind, name] of Object.entries(IDLE)) {
    const values = starts.map(() => 0);
    for (const one of byStep.steps) values[place.get(Date.parse(one.start))] = one.idle[`${kind}_usd`];
    series.push({name, look: kind, total: total.idle[`${kind}_usd`], values});
  }
  return series;
}

// In the ledger's own units, which are whole numbers.
function sum(amountsUsd) {
  const pico = amountsUsd.reduce((added, usd) => added + BigInt(Math.round(usd * PICO_PER_USD)), 0n);
  return Number(pico) / PICO_PER_USD;
}

function summary() {
  const {bounds, step, group, total, starts, series, costs} = shown;
  const most = costs.indexOf(Math.max(...costs));
  const largest = series[0];
  return `${dollars(total.total.cost_usd)} from ${rangeName(bounds.start, bounds.end)}, by ${step} and ` +
    `${GROUPS[group] === "GPU" ? "GPU" : group}. The most in one ${step}: ${dollars(costs[most])} ` +
    `(${stepName[step](starts[most])}). ${largest.name}: ${dollars(largest.total)}.`;
}

function showLegend() {
  keep(at("legend"), shown.series, {
    key: one => `${one.look} ${one.name}`,
    inOrder: true,
    create: () => make("li", "", make("span", "swatch"), make("bdi", "name"), make("data")),
    update: (item, one) => {
      const [swatch, name] = item.children;
      swatch.className = `swatch ${one.look}`;
      item.title = one.name;
      setText(name, one.name);
    },
  });
}

function showReadout() {
  if (!shown) return;
  const {step, starts, series, costs, total} = shown;
  const title = readAt === null ? "The whole range" : stepName[step](starts[readAt]);
  const cost = readAt === null ? total.total.cost_usd : costs[readAt];
  setText(at("readout-title"), `${title}:`);
  setNumber(at("readout-total"), cost, dollars);
  [...at("legend").children].forEach((item, index) => {
    const one = series[index];
    setNumber(item.lastElementChild, readAt === null ? one.total : one.values[readAt], dollars);
  });
  const slider = at("chart");
  slider.ariaValueMin = 0;
  slider.ariaValueMax = Math.max(0, starts.length - 1);
  slider.ariaValueNow = readAt ?? starts.length - 1;
  slider.ariaValueText = [`${title}: ${dollars(cost)}`, ...series.map(one =>
    `${one.name} ${dollars(readAt === null ? one.total : one.values[readAt])}`)].join(", ");
}

// Thousands of lines: only once they are looked at.
function showTable() {
  if (!shown || !at("time-details").open) return;
  const {step, group, byStep} = shown;
  const lines = [];
  const rows = Map.groupBy(byStep.rows, row => row.start);
  for (const one of byStep.steps) {
    for (const row of rows.get(one.start) ?? []) {
      lines.push({at: one.start, what: nameOf(row, group), tokens: row.tokens.total, cost: row.cost_usd,
        million: row.cost_per_million_tokens_usd, kind: "row"});
    }
    for (const [kind, name] of Object.entries(IDLE)) {
      const cost = one.idle[`${kind}_usd`];
      if (cost > 0) lines.push({at: one.start, what: name, cost, kind});
    }
    lines.push({at: one.start, what: "Total", cost: one.cost_usd, kind: "total"});
  }
  setText(at("time-caption"), `Cost by ${step} and ${group}`);
  keep(at("time-rows"), lines.slice(0, MOST_LINES), {
    key: line => `${line.at} ${line.kind} ${line.what}`,
    inOrder: true,
    create: line => make("tr", line.kind, make("th"), nameCell("td"), ...Array.from({length: 3}, numberCell)),
    update: (tr, line) => {
      const [when, what, ...numbers] = tr.children;
      when.scope = "row";
      setText(when, stepName[step](Date.parse(line.at)));
      setName(what, line.what);
      [[line.tokens, whole], [line.cost, usd], [line.million, usd]].forEach(([value, write], index) =>
        setCell(numbers[index], value, write));
    },
  });
  setHidden(at("time-more"), lines.length <= MOST_LINES);
  setText(at("time-more"), `These are the first ${whole(MOST_LINES)} of ${whole(lines.length)} lines. The CSV has all, by day.`);
}
