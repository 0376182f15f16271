/** Cordon and drain of a queue. */

import type { JSX } from "preact";
import { request, segment } from "../client";
import { count, since } from "../format";
import type { Queue } from "../rest";
import { Outcome, useTask } from "./task";

type Wanted = "open" | "cordoned" | "draining";

const BUTTONS: Record<Wanted, [string, string]> = {
  cordoned: ["Cordon", "The queue takes no new flows."],
  draining: ["Drain", "The queue takes no new flows, and those that it has are moved away."],
  open: ["Open again", "The queue takes flows again."],
};

export function Admission({ queue, changed }: { queue: Queue; changed: () => void }): JSX.Element {
  const task = useTask();
  const path = `v1/devices/${segment(queue.device)}/queues/${queue.port_no}/${queue.queue_id}`;
  const now: Wanted = queue.admission === "drained" ? "draining" : queue.admission;
  const set = async (admission: Wanted): Promise<void> => {
    const body = JSON.stringify({ admission });
    await task.run(() => request(path, { method: "PATCH", type: "application/json", body }), BUTTONS[admission][1]);
    changed();
  };
  return (
    <section class="admission" aria-label="Out of service">
      <h3>Out of service</h3>
      {queue.admission !== "open" && (
        <p>
          {queue.admission} for {since(queue.cordoned_since)}: {count(queue.flows)} of {count(queue.cordoned_flows)} flows left
        </p>
      )}
      <div class="buttons">
        {(Object.keys(BUTTONS) as Wanted[])
          .filter((wanted) => wanted !== now)
          .map((wanted) => (
            <button key={wanted} type="button" disabled={task.busy} title={BUTTONS[wanted][1]} onClick={() => void set(wanted)}>
              {BUTTONS[wanted][0]}
            </button>
          ))}
      </div>
      <Outcome task={task} />
    </section>
  );
}
