// Elements of SVG, and the small charts that are made of them. Numbers beside a chart say in words what it shows.
import { set } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

export function s(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, props);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * A curve over the last `span` seconds: `points` are `[seconds ago, value or null]`, the oldest first. Where nothing is
 * known there is a gap. It is stretched to the width that it gets.
 */
export function curve(points, { span, top, isArea = true, dots = false }) {
  const [width, height] = [100, 32];
  const x = (ago) => width - (ago / span) * width;
  const y = (value) => height - 1 - (value / (top || 1)) * (height - 3);
  const runs = [];
  let run = [];
  for (const [ago, value] of points) {
    if (value === null) {
      if (!dots) {
        runs.push(run);
        run = [];
      }
    } else {
      run.push([x(ago), y(value)]);
    }
  }
  runs.push(run);
  const drawn = runs.filter((each) => each.length > 0);
  const line = (each) => each.map(([a, b], index) => `${index ? "L" : "M"}${a.toFixed(2)} ${b.toFixed(2)}`).join("");
  return s(
    "svg",
    { class: "curve", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    isArea &&
      drawn.map((each) =>
        s("path", { class: "curve-area", d: `${line(each)}L${each.at(-1)[0].toFixed(2)} ${height}L${each[0][0].toFixed(2)} ${height}Z` }),
      ),
    drawn.map((each) => s("path", { class: "curve-line", d: each.length > 1 ? line(each) : `${line(each)}h0.01` })),
  );
}
