// Stacked bars, drawn by uPlot. They can be read with the pointer and with the arrow keys.

import {make} from "./dom.js";
import {dollars} from "./format.js";

const HEIGHT = 280, AXIS_WIDTH = 68, MARK_WIDTH = 76;
// What was not used is hatched, so that it is not told by colour alone.
const HATCHES = {loaded: [[0, 8, 8, 0]], fleet: [[0, 0, 8, 8]], unreported: [[0, 8, 8, 0], [0, 0, 8, 8]]};

export class StackedBars {
  #box; #onCursor; #plot = null; #shape = ""; #drawn = null; #at = null;

  // `onCursor(index)`: the bar that is looked at; null: none.
  constructor(box, onCursor) {
    this.#box = box;
    this.#onCursor = onCursor;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(box);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.#build());
    }
    box.addEventListener("keydown", event => this.#onKey(event));
    box.addEventListener("blur", () => this.#look(null));
  }

  // `marks`: the text under each bar; `series`: from the bottom, each {look, values}.
  show(drawn) {
    const shape = JSON.stringify([drawn.marks, drawn.series.map(one => one.look)]);
    this.#drawn = drawn;
    if (this.#plot && shape === this.#shape) {
      this.#plot.setData(this.#data());
      return;
    }
    this.#shape = shape;
    this.#build();
  }

  #size() {
    return {width: Math.max(this.#box.clientWidth, 200), height: HEIGHT};
  }

  // Each bar reaches from the ground to its own top, so the highest are drawn first.
  #data() {
    const {marks, series} = this.#drawn;
    const tops = [];
    let below = marks.map(() => 0);
    for (const {values} of series) tops.unshift(below = below.map((sum, index) => sum + values[index]));
    return [marks.map((_, index) => index), ...tops];
  }

  #build() {
    if (!this.#drawn) return;
    this.#plot?.destroy();
    const {marks, series} = this.#drawn;
    const color = name => resolved(this.#box, name);
    // What tells the series apart is the page's also where the other colours are the system's.
    const own = make("span", "swatch");
    this.#box.append(own);
    const ownColor = name => resolved(own, name);
    const axis = {stroke: color("--muted"), font: "12px system-ui, sans-serif", ticks: {show: false}};
    const paths = uPlot.paths.bars({size: [0.86, 72]});
    this.#plot = new uPlot({
      ...this.#size(),
      legend: {show: false},
      cursor: {y: false, points: {show: false}, drag: {x: false, y: false}},
      scales: {
        x: {time: false, range: () => [-0.5, marks.length - 0.5]},
        y: {range: (_, __, most) => [0, most > 0 ? most * 1.06 : 1]},
      },
      axes: [
        {...axis, grid: {show: false}, size: 30, splits: plot => every(marks.length, plot.bbox.width / devicePixelRatio),
         values: (_, splits) => splits.map(index => marks[index] ?? "")},
        {...axis, grid: {stroke: color("--line"), width: 1}, size: AXIS_WIDTH,
         values: (_, splits) => splits.map(dollars)},
      ],
      series: [{}, ...series.map(({look}) => ({
        paths, points: {show: false}, stroke: ownColor("--card"), width: 1,
        fill: fill(ownColor(`--${look}`), ownColor("--card"), HATCHES[look]),
      })).reverse()],
      hooks: {setCursor: [plot => this.#onCursor(this.#at = plot.cursor.idx ?? null)]},
    }, this.#data(), this.#box);
    own.remove();
  }

  #onKey(event) {
    const last = (this.#drawn?.marks.length ?? 0) - 1;
    const at = this.#at;
    const next = {
      ArrowLeft: at === null ? last : Math.max(0, at - 1),
      ArrowRight: at === null ? 0 : Math.min(last, at + 1),
      Home: 0, End: last, Escape: null,
    };
    if (last < 0 || !(event.key in next)) return;
    event.preventDefault();
    this.#look(next[event.key]);
  }

  #look(index) {
    const left = index === null ? -10 : this.#plot?.valToPos(index, "x");
    this.#plot?.setCursor({left, top: index === null ? -10 : 1});
  }
}

// As many marks as fit beside each other.
function every(count, width) {
  const each = Math.max(1, Math.ceil(count * MARK_WIDTH / width));
  return Array.from({length: Math.ceil(count / each)}, (_, index) => index * each);
}

// A colour of the style sheet, as the theme in force has it.
function resolved(element, name) {
  element.style.color = `var(${name})`;
  const color = getComputedStyle(element).color;
  element.style.color = "";
  return color;
}

function fill(color, background, lines) {
  if (!lines) return color;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const context = tile.getContext("2d");
  context.fillStyle = background;
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.lineCap = "square";
  for (const [fromX, fromY, toX, toY] of lines) {
    context.beginPath();
    context.moveTo(fromX, fromY);
    context.lineTo(toX, toY);
    context.stroke();
  }
  return context.createPattern(tile, "repeat");
}
