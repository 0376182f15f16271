/** The last hour of queues: load, flows and moves. */

import type { JSX } from "preact";
import { get, segment, withQuery } from "../client";
import { count, rate } from "../format";
import { usePoll, type Reading } from "../poll";
import type { Histories, Queue, QueueHistory as History } from "../rest";
import { Trouble } from "./basics";
import { Chart } from "./chart";

const STEP = 15; // s
const PERIOD = 15_000; // ms

/** Reads the history of a device's queues, or of those of one port. */
export function useHistory(dpid: string, port: string | null, step: number = STEP): Reading<Histories> {
  const path = `v1/devices/${segment(dpid)}/queues/history`;
  return usePoll(`history ${dpid} ${port}`, (signal) => get<Histories>(withQuery(path, { port, step: `${step}s` }), signal), PERIOD);
}

export function QueueHistory({ queue }: { queue: Queue }): JSX.Element {
  const reading = useHistory(queue.device, String(queue.port_no));
  const found = reading.value?.items.find((item) => item.port_no === queue.port_no && item.queue_id === queue.queue_id);
  if (reading.value === undefined || found === undefined) return <Trouble reading={reading} what="the last hour" />;
  const times = reading.value.times.map((time) => Date.parse(time) / 1000);
  const moves = found.moves_in.map((value, place) => value + (found.moves_out[place] ?? 0));
  const limit = queue.max_rate;
  return (
    <section class="history" aria-label="The last hour">
      <h3>The last hour</h3>
      {reading.error !== null && <Trouble reading={reading} what="the last hour" />}
      <Chart
        title="Load"
        times={times}
        write={(value) => rate(value)}
        lowest={limit ?? 1000}
        series={[
          { name: "mean", values: found.load, colour: "c1", filled: true },
          { name: "highest", values: found.peak, colour: "c2" },
          ...(limit === null ? [] : [{ name: "capacity", values: times.map(() => limit), colour: "dim", dashed: true }]),
        ]}
      />
      <Chart title="Flows" times={times} write={number} lowest={4} series={[{ name: "flows", values: found.flows, colour: "c3", filled: true, stepped: true }]} />
      <Chart title="Moves to it and from it" times={times} write={number} lowest={4} series={[{ name: "moves", values: moves, colour: "c4", filled: true, stepped: true }]} />
    </section>
  );
}

/** A mean of counts has a digit after the point. */
const number = (value: number): string => count(Math.round(10 * value) / 10);

const WIDTH = 60;
const HEIGHT = 16;

/** Seconds that a lane's line stands for at least, while the controller is young. */
const YOUNG = 300;

/** The load of the last hour in a lane, against its capacity; the panel has it with numbers. */
export function Spark({
  history,
  times,
  capacity,
}: {
  history: History | undefined;
  times: number[];
  capacity: number;
}): JSX.Element {
  const [first = 0, last = 0] = [times[0], times.at(-1)];
  const span = Math.max(YOUNG, last - first);
  const x = (time: number): string => (WIDTH * (1 - (last - time) / span)).toFixed(1);
  const y = (value: number): string => (HEIGHT * (1 - Math.min(1, value / capacity))).toFixed(1);
  const points = (history?.load ?? []).map((value, place) => `${x(times[place] ?? last)},${y(value)}`);
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {points.length > 1 && (
        <>
          <polygon points={`${x(first)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`} />
          <polyline points={points.join(" ")} />
        </>
      )}
    </svg>
  );
}
