/** Pins by hand: a flow is kept on a queue for a time. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { get, request, segment, withQuery } from "../client";
import { duration, rate } from "../format";
import { deviceName } from "../names";
import { usePoll } from "../poll";
import type { Flow, Page, Placement, Queue } from "../rest";
import { Badge, Field, Name } from "./basics";
import { Outcome, useTask } from "./task";

const LIFETIMES: [number, string][] = [
  [600, "10 minutes"],
  [3600, "1 hour"],
  [86400, "1 day"],
  [604800, "1 week"],
];

export function PinForm({ flow, changed, disabled }: { flow: Flow; changed: () => void; disabled: boolean }): JSX.Element {
  return (
    <section aria-label="Pins by hand">
      <h3>Keep it on a queue</h3>
      {/* Where the port is not known there is no queue to choose. */}
      {flow.assignments.filter((place) => place.port !== "").map((place) => (
        <OnDevice key={place.device} flow={flow} place={place} changed={changed} disabled={disabled} />
      ))}
    </section>
  );
}

function OnDevice({
  flow,
  place,
  changed,
  disabled,
}: {
  flow: Flow;
  place: Placement;
  changed: () => void;
  disabled: boolean;
}): JSX.Element | null {
  const path = `v1/flows/${segment(flow.id)}/pin`;
  const task = useTask();
  const [queue, setQueue] = useState("");
  const [lifetime, setLifetime] = useState(3600);
  const queues = usePoll(
    `queues of ${place.device} ${place.port_no}`,
    (signal) => get<Page<Queue>>(withQuery(`v1/devices/${place.device}/queues`, { port: place.port_no }), signal),
    5000,
  );
  const pin = place.manual_pin;
  const items = queues.value?.items ?? [];
  const chosen = queue || String(place.queue_id ?? items[0]?.queue_id ?? "");
  const give = async (event: Event): Promise<void> => {
    event.preventDefault();
    const body = JSON.stringify({ device: place.device, queue_id: Number(chosen), lifetime });
    await task.run(() => request(path, { method: "PUT", type: "application/json", body }), `It is kept on queue ${chosen}.`);
    changed();
  };
  const take = async (): Promise<void> => {
    await task.run(() => request(withQuery(path, { device: place.device }), { method: "DELETE" }), "The pin was taken back.");
    changed();
  };
  return (
    <div class="pin">
      {flow.assignments.length > 1 && (
        <h4>
          On <Name text={deviceName(place.device)} />
        </h4>
      )}
      {pin && (
        <p>
          <Badge tone={pin.in_force ? "good" : "warn"}>pinned by hand</Badge> to queue {pin.queue_id} for another{" "}
          {duration((Date.parse(pin.expires) - Date.now()) / 1000)}
          {!pin.in_force && "; not in force now"}{" "}
          <button type="button" class="quiet" disabled={task.busy} onClick={() => void take()}>
            take back
          </button>
        </p>
      )}
      {items.length > 0 ? (
        <form class="row" onSubmit={(event) => void give(event)}>
          <Field label="Queue">
            <select value={chosen} onChange={(event) => setQueue(event.currentTarget.value)}>
              {items.map((one) => (
                <option key={one.queue_id} value={String(one.queue_id)}>
                  {one.queue_id}
                  {one.kind === "software" ? " software" : ""}: {rate(one.load)}, {one.flows} flows
                </option>
              ))}
            </select>
          </Field>
          <Field label="For">
            <select value={String(lifetime)} onChange={(event) => setLifetime(Number(event.currentTarget.value))}>
              {LIFETIMES.map(([seconds, text]) => (
                <option key={seconds} value={String(seconds)}>
                  {text}
                </option>
              ))}
            </select>
          </Field>
          <button type="submit" disabled={task.busy || disabled}>
            Pin
          </button>
        </form>
      ) : (
        queues.value !== undefined && <p class="dim">Its port there, <Name text={place.port} />, has no queues.</p>
      )}
      <Outcome task={task} />
    </div>
  );
}
