/** A chart over time, drawn by uPlot on a canvas; its summary is text. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { repaint } from "../theme";

export interface Series {
  name: string;
  values: (number | null)[];
  /** A CSS variable without its dashes. */
  colour: string;
  dashed?: boolean;
  filled?: boolean;
  stepped?: boolean;
}

const HEIGHT = 120;

/** Time of day for a mark of the axis; with seconds where the marks are close. */
function clock(seconds: number, marks: number[]): string {
  const text = new Date(seconds * 1000).toLocaleTimeString("sv");
  return (marks[1] ?? 0) - (marks[0] ?? 0) < 60 ? text : text.slice(0, 5);
}

/** Draws series over times (s, Unix time). `write` makes text of a value. */
export function Chart({
  title,
  times,
  series,
  write,
  lowest = 1,
}: {
  title: string;
  times: number[];
  series: Series[];
  write: (value: number) => string;
  /** The smallest value that the axis reaches to. */
  lowest?: number;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | null>(null);
  const colours = repaint.value;
  const shape = `${title} ${series.map((one) => one.name).join()} ${colours}`;
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    // A canvas needs a colour that is resolved: rgb(…).
    const colour = (name: string): string => {
      element.style.color = `var(--${name})`;
      return getComputedStyle(element).color;
    };
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high ?? 0, lowest) * 1.05] } },
        axes: [
          { ...axis, space: 60, size: 26, values: (_plot, at) => at.map((one) => clock(one, at)) },
          { ...axis, size: 74, space: 28, values: (_plot, at) => at.map(write) },
        ],
        series: [
          {},
          ...series.map((one) => ({
            label: one.name,
            stroke: colour(one.colour),
            width: 1.5,
            points: { show: false },
            ...(one.dashed && { dash: [4, 4] }),
            ...(one.filled && { fill: colour(one.colour).replace(")", ", 20%)").replace("rgb(", "rgba(") }),
            ...(one.stepped && { paths: uPlot.paths.stepped!({ align: 1 }) }),
          })),
        ],
        hooks: {
          setCursor: [
            (drawn) => {
              const at = drawn.cursor.idx;
              if (readout.current === null) return;
              if (at === null || at === undefined) readout.current.textContent = "";
              else {
                const values = drawn.data.slice(1).map((column) => column[at]);
                const moment = new Date((drawn.data[0][at] ?? 0) * 1000).toLocaleTimeString("sv");
                readout.current.textContent = `${moment}: ${values
                  .map((value) => (value === null || value === undefined ? "–" : write(value)))
                  .join(", ")}`;
              }
            },
          ],
        },
      },
      [times, ...series.map((one) => one.values)],
      element,
    );
    plot.current = made;
    const watcher = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData([times, ...series.map((one) => one.values)]), [times, series]);
  const main = series[0];
  const known = main?.values.filter((value): value is number => value !== null) ?? [];
  const summary =
    known.length === 0
      ? "nothing recorded yet"
      : `now ${write(known.at(-1) ?? 0)}, highest ${write(Math.max(...known))}, mean ${write(
          known.reduce((sum, value) => sum + value, 0) / known.length,
        )}`;
  return (
    <figure class="chart">
      <figcaption>
        <b>{title}</b> <span class="dim">{summary}</span> <span class="readout" ref={readout} aria-hidden="true" />
      </figcaption>
      <div ref={box} role="img" aria-label={`${title}, last hour: ${summary}`} />
    </figure>
  );
}
