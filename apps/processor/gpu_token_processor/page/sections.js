// The parts of the page below the range, each from one answer of the API.

import {at, keep, make, nameCell, numberCell, setCell, setHidden, setName, setNumber, setText} from "./dom.js";
import {dateAndTime, dollars, hours, percent, tenths, usd, whole} from "./format.js";
import {IDLE, nameOf} from "./overtime.js";
import {GROUPS} from "./question.js";

const time = text => dateAndTime(Date.parse(text));

export function showTotals({total, idle}) {
  setNumber(at("cost"), total.cost_usd, dollars);
  setText(at("cost-note"), "of all GPUs, used or not, leased time included");
  setNumber(at("million"), total.cost_per_million_tokens_usd, dollars);
  setNumber(at("tokens"), total.tokens.total, whole);
  setNumber(at("requests"), total.tokens.requests, whole);
  setNumber(at("loaded"), idle.loaded_usd, dollars);
  setNumber(at("fleet"), idle.fleet_usd, dollars);
  setNumber(at("unreported"), idle.unreported_usd, dollars);
}

export function showCoverage({coverage, total}) {
  const said = [
    coverage.default_price_share > 0
      ? `${percent(coverage.default_price_share)} of the GPU time at the default price`
      : "No GPU time at the default price",
    `${hours(coverage.covered_seconds)} GPU hours reported, ${hours(coverage.gap_seconds)} in gaps, ` +
      `${hours(coverage.unreported_seconds)} leased and silent`,
  ];
  const ifAny = (words, count) => { if (count > 0) said.push(`${words}: ${whole(count)}`); };
  ifAny("tokens that no GPU pays for", total.tokens.unpriced);
  ifAny("tokens that are nobody’s", coverage.unattributed_tokens);
  ifAny("refused events", coverage.dead_letters);
  ifAny("events in conflict", coverage.conflicting_events);
  ifAny("counters begun anew", coverage.counter_resets);
  setText(at("coverage"), `${said.join("; ")}.`);
}

export function showGroups({rows, idle, total}, group, isNew) {
  const what = GROUPS[group];
  setText(at("groups-title"), `By ${what === "GPU" ? "GPU" : group}`);
  setText(at("groups-caption"), `Tokens and cost by ${what}, over the whole range`);
  for (const heading of document.querySelectorAll("th.what")) setText(heading, what);
  const cells = () => Array.from({length: 4}, numberCell);
  const all = {...total, name: "Total"};
  const create = () => make("tr", "", nameCell("th"), ...cells());
  const update = (tr, line) => {
    const [name, requests, tokens, cost, million] = tr.children;
    setName(name, line.name);
    setCell(requests, line.tokens?.requests, whole);
    setCell(tokens, line.tokens?.total, whole);
    setCell(cost, line.cost_usd, usd);
    setCell(million, line.cost_per_million_tokens_usd, usd);
    if (line !== all) setPart(cost, line.cost_usd, total.cost_usd);
  };
  const key = line => line.name;
  const byCost = [...rows].sort((one, other) => other.cost_usd - one.cost_usd);
  keep(at("group-rows"), byCost.map(row => ({...row, name: nameOf(row, group)})), {key, create, update, inOrder: isNew});
  const ends = Object.entries(IDLE).map(([kind, name]) => ({name, cost_usd: idle[`${kind}_usd`]}));
  keep(at("group-ends"), [...ends, all], {key, create, update});
}

// A bar behind a number; nothing but decoration.
function setPart(cell, value, whole) {
  cell.style.setProperty("--part", whole > 0 ? `${100 * (value ?? 0) / whole}%` : "0%");
}

export function showClasses({total}) {
  const {tokens, cost_usd_by_class: costs} = total;
  const lines = [
    ["Uncached prompt", tokens.uncached_prompt, costs.uncached_prompt],
    ["Cached prompt", tokens.cached_prompt, costs.cached_prompt],
    ["Completion", tokens.completion, costs.completion],
    ["of it reasoning", tokens.reasoning, null],
    ["All", tokens.total, null],
  ].map(([name, count, cost]) => ({name, count, cost}));
  keep(at("class-rows"), lines, {
    key: line => line.name,
    create: () => make("tr", "", nameCell("th"), numberCell(), numberCell()),
    update: (tr, line) => {
      const [name, count, cost] = tr.children;
      setName(name, line.name);
      setCell(count, line.count, whole);
      if (line.name !== "All") setPart(count, line.count, tokens.total);
      setCell(cost, line.cost, usd);
    },
  });
}

const STATES = {within: "within", warning: "near its limit", exceeded: "exceeded"};

// `answer` is null where the server knows no budgets.
export function showBudgets(answer) {
  const budgets = answer?.budgets ?? [];
  setHidden(at("no-budgets"), budgets.length > 0);
  keep(at("budgets"), budgets, {
    key: budget => budget.name,
    inOrder: true,
    create: () => make("li", "",
      make("p", "line", make("bdi", "name"), make("span", "chip")), make("p", "quiet", make("bdi")),
      barOf(), make("p", "", make("data"), " of ", make("data"), ", ", make("data")), make("p", "quiet")),
    update: showBudget,
  });
}

function barOf() {
  const bar = make("div", "budget-bar", make("div", "spent"), make("div", "marks"));
  bar.ariaHidden = "true";
  return bar;
}

function showBudget(item, budget) {
  const [head, of, bar, amounts, notes] = item.children;
  item.className = budget.state;
  setText(head.children[0], budget.name);
  setText(head.children[1], STATES[budget.state] ?? budget.state);
  const selected = Object.entries(budget.selector).map(([name, value]) => `${name} ${value}`);
  setText(of.children[0], selected.join(", ") || "everything");
  bar.children[0].style.width = `${Math.min(100, 100 * budget.spent_share)}%`;
  keep(bar.children[1], budget.thresholds, {
    key: one => String(one.share),
    create: () => make("span"),
    update: (mark, one) => { mark.style.left = `${Math.min(100, 100 * one.share)}%`; },
  });
  const [spent, limit, share] = amounts.children;
  setNumber(spent, budget.spent_usd, dollars);
  setNumber(limit, budget.limit_usd, dollars);
  setNumber(share, budget.spent_share, percent);
  const crossed = budget.thresholds.filter(one => one.crossed_at)
    .map(one => `${percent(one.share)} since ${time(one.crossed_at)} UTC`);
  const forecast = budget.forecast_usd == null ? [] : [`At this rate ${dollars(budget.forecast_usd)} by the end of the month`];
  setText(notes, [...forecast, ...crossed].join("; "));
}

const PRICE_FROM = {event: "reading", inventory: "catalogue", default: "default"};

export function showGpus(gpus, isNew) {
  const live = gpus.filter(gpu => gpu.reporting).length;
  setText(at("gpus-note"), gpus.length
    ? `${whole(live)} of ${whole(gpus.length)} report; the others are silent since their last reading.`
    : "No GPU has reported yet.");
  keep(at("gpu-rows"), gpus, {
    key: gpu => gpu.gpu_id,
    inOrder: isNew,
    create: () => make("tr", "", nameCell("th"), make("td"), nameCell("td"),
      ...Array.from({length: 4}, () => make("td", "number")), make("td"), make("td")),
    update: (tr, gpu) => {
      const [id, state, name, used, memory, power, price, from, last] = tr.children;
      setName(id, gpu.gpu_id);
      state.className = gpu.reporting ? "good" : "quiet";
      setText(state, gpu.reporting ? "● reports" : "○ silent");
      setName(name, gpu.name ?? "–");
      setText(used, percent(gpu.utilization));
      setText(memory, `${whole(gpu.mem_used_mb)} of ${whole(gpu.mem_total_mb)}`);
      setText(power, tenths(gpu.power_w));
      setText(price, usd(gpu.price_per_hour_usd));
      setText(from, PRICE_FROM[gpu.price_source] ?? "–");
      setText(last, time(gpu.ts));
    },
  });
}

export function showRefused({total, items}) {
  setHidden(at("refused"), total === 0);
  keep(at("refused-rows"), items, {
    key: item => `${item.topic} ${item.reason}`,
    create: () => make("tr", "", nameCell("th"), make("td"), numberCell(), make("td")),
    update: (tr, item) => {
      const [topic, reason, events, latest] = tr.children;
      setName(topic, item.topic);
      setText(reason, item.reason);
      setCell(events, item.events, whole);
      setText(latest, time(item.latest));
    },
  });
}

export function showHealth(health) {
  const isWell = health.status === "ok";
  setText(at("health"), isWell ? "healthy" : "unhealthy");
  at("health").className = isWell ? "chip good" : "chip bad";
  setText(at("processor"), `· processor ${health.version}, ${whole(health.consumer.lag_events)} events wait for it in Kafka`);
}
