/** The queues of each port side by side: load over capacity, classes, flows. */

import type { JSX } from "preact";
import { classNames, colourOf } from "../classes";
import { get, segment, withQuery } from "../client";
import { count, plural, rate, since, visible } from "../format";
import { remember } from "../names";
import { usePoll } from "../poll";
import type { Device, Histories, Page, Port, Queue } from "../rest";
import { changed, route } from "../route";
import { Badge, ClassName, Meter, Name, Note, Open, Trouble } from "../parts/basics";
import { Spark, useHistory } from "../parts/history";
import { QueuePanel } from "./queue";
import { FlowPanel } from "./flow";

/** Queues of a device from which on their last hour is read in steps of a minute. */
const MANY = 64;

/** Devices shown at a time. */
const DEVICES = 8;

interface Shown {
  devices: Device[];
  queues: Queue[][];
  next: string | null;
}

async function read(only: string | null, cursor: string | null, signal: AbortSignal): Promise<Shown> {
  const page: Page<Device> =
    only !== null
      ? { items: [await get<Device>(`v1/devices/${segment(only)}`, signal)], next: null }
      : await get<Page<Device>>(withQuery("v1/devices", { limit: DEVICES, cursor }), signal);
  remember(page.items);
  const lists = await Promise.all(
    page.items.map((device) => get<Page<Queue>>(`v1/devices/${device.dpid}/queues`, signal)),
  );
  return { devices: page.items, queues: lists.map((list) => list.items), next: page.next };
}

export function Lanes(): JSX.Element {
  const { params } = route.value;
  const only = params.get("device");
  const cursor = params.get("cursor");
  const reading = usePoll(`lanes ${only} ${cursor}`, (signal) => read(only, cursor, signal));
  const lane = params.get("lane");
  const flow = params.get("flow");
  const shown = reading.value;
  return (
    <>
      <div id="view">
        <header class="title">
          <h1 tabIndex={-1}>Lanes</h1>
          {only !== null && <a href={changed({ device: null, cursor: null })}>all devices</a>}
          <Legend />
        </header>
        <Trouble reading={reading} what="devices and queues" />
        {shown?.devices.length === 0 && (
          <Note>
            No device is known yet. Connect a bridge to this controller with{" "}
            <code>ovs-vsctl set-controller BRIDGE tcp:THIS-HOST:6653</code>.
          </Note>
        )}
        {shown?.devices.map((device, place) => {
          const queues = shown.queues[place] ?? [];
          return queues.length > 0 && <DeviceLanes key={device.dpid} device={device} queues={queues} selected={lane} />;
        })}
        {shown?.devices.some((_, place) => shown.queues[place]?.length === 0) && (
          <section class="device" aria-label="Devices without queues">
            {shown.devices.map(
              (device, place) => shown.queues[place]?.length === 0 && <Heading key={device.dpid} device={device} without />,
            )}
          </section>
        )}
        {(cursor !== null || shown?.next) && (
          <nav class="pages" aria-label="Pages of devices">
            {cursor !== null && <a href={changed({ cursor: null })}>first devices</a>}
            {shown?.next && <a href={changed({ cursor: shown.next })}>more devices</a>}
          </nav>
        )}
      </div>
      {flow !== null ? <FlowPanel id={flow} /> : lane !== null && <QueuePanel lane={lane} />}
    </>
  );
}

function Legend(): JSX.Element {
  return (
    <ul class="legend" aria-label="Classes">
      {classNames.value.map((name) => (
        <li key={name}>
          <ClassName name={name} />
        </li>
      ))}
    </ul>
  );
}

function DeviceLanes({
  device,
  queues,
  selected,
}: {
  device: Device;
  queues: Queue[];
  selected: string | null;
}): JSX.Element {
  const ports = [...grouped(queues)];
  const history = useHistory(device.dpid, null, queues.length > MANY ? 60 : 15);
  const gone = isGone(device);
  return (
    <section class={`device ${gone ? "gone" : ""}`} aria-label={`Device ${visible(device.name || device.dpid)}`}>
      <Heading device={device} />
      {ports.map(([number, lanes]) => (
        <PortLanes
          key={number}
          device={device}
          port={device.ports.find((port) => port.port_no === number)}
          queues={lanes}
          history={history.value}
          selected={selected}
        />
      ))}
    </section>
  );
}

function grouped(queues: Queue[]): Map<number, Queue[]> {
  const ports = new Map<number, Queue[]>();
  for (const queue of queues) ports.set(queue.port_no, [...(ports.get(queue.port_no) ?? []), queue]);
  return ports;
}

function PortLanes({
  device,
  port,
  queues,
  history,
  selected,
}: {
  device: Device;
  port: Port | undefined;
  queues: Queue[];
  history: Histories | undefined;
  selected: string | null;
}): JSX.Element {
  const name = queues[0]?.port ?? "";
  const load = queues.reduce((sum, queue) => sum + queue.load, 0);
  const flows = queues.reduce((sum, queue) => sum + queue.flows, 0);
  const capacity = port?.rate ?? null;
  // Without a rate a lane is drawn against the largest one of the port.
  const largest = Math.max(1, capacity ?? 0, ...queues.map((queue) => Math.max(queue.max_rate ?? 0, queue.load)));
  const kinds = (["physical", "software", "none"] as const).filter((kind) => queues.some((queue) => queue.kind === kind));
  const headings = { physical: "Hardware queues", software: "Software queues", none: "Other queues" };
  return (
    <div class="port">
      <div class="port-head">
        <h3>
          <Name text={name} />
        </h3>
        <span class="dim">{port?.role}</span>
        {port?.up === false && <Badge tone="bad">link down</Badge>}
        <span>
          {rate(load)}
          {capacity !== null && ` of ${rate(capacity)}`}, {plural(flows, "flow")}
        </span>
        {capacity !== null && (
          <Meter value={load} of={capacity} label={`port load ${Math.round((100 * load) / capacity)} %`} />
        )}
      </div>
      <div class="groups">
        {kinds.map((kind) => (
          <div class={`group ${kind}`} key={kind} role="group" aria-label={`${headings[kind]} of ${visible(name)}`}>
            <h4>{headings[kind]}</h4>
            <div class="lanes">
              {queues
                .filter((queue) => queue.kind === kind)
                .map((queue) => (
                  <Lane
                    key={queue.queue_id}
                    queue={queue}
                    device={device}
                    largest={largest}
                    history={history}
                    isSelected={selected === laneOf(queue)}
                  />
                ))}
            </div>
          </div>
        ))}
      </div>
    </div>
  );
}

const isGone = (device: Device): boolean => !device.connected && !device.declared;

/** What is to be known of a device, in a line. `without`: it has no queues. */
function Heading({ device, without = false }: { device: Device; without?: boolean }): JSX.Element {
  return (
    <header class={isGone(device) ? "gone" : ""}>
      <h2>
        <Open view="devices" params={{ device: device.dpid }}>
          <Name text={device.name || device.dpid} title={`datapath id ${device.dpid}`} />
        </Open>
      </h2>
      <span class="dim">{device.role}</span>
      {isGone(device) ? (
        <Badge tone="bad">disconnected for {since(device.since)}: figures are of then</Badge>
      ) : (
        <span class="dim">
          {plural(device.flows, "flow")}, {count(device.pinned)} pinned
        </span>
      )}
      {without && <span class="dim">no port of it has queues</span>}
      {device.declared && <Badge>passive: marks choose its queues</Badge>}
      {device.unusable !== null && <Badge tone="bad">left alone: {visible(device.unusable)}</Badge>}
      {device.left_out.length > 0 && (
        <Open view="devices" params={{ device: device.dpid }}>
          <Badge tone="warn">{plural(device.left_out.length, "part")} of the policy left out</Badge>
        </Open>
      )}
    </header>
  );
}

/** A queue as a parameter of the address: dpid/port/queue. */
export const laneOf = (queue: { device: string; port_no: number; queue_id: number | null }): string =>
  `${queue.device}/${queue.port_no}/${queue.queue_id}`;

function Lane({
  queue,
  device,
  largest,
  history,
  isSelected,
}: {
  queue: Queue;
  device: Device;
  largest: number;
  history: Histories | undefined;
  isSelected: boolean;
}): JSX.Element {
  const capacity = queue.max_rate ?? largest;
  const share = Math.min(1, queue.load / capacity);
  const state = [queue.exclusive ? "exclusive" : "", queue.admission === "open" ? "" : queue.admission].filter(Boolean);
  const percent = queue.max_rate ? `${Math.round((100 * queue.load) / queue.max_rate)} %` : "rate unknown";
  const past = history?.items.find((one) => one.port_no === queue.port_no && one.queue_id === queue.queue_id);
  const times = history?.times.map((time) => Date.parse(time) / 1000) ?? [];
  const classes = queue.classes.length > 0 ? queue.classes : ["default"];
  const label = [
    `${queue.kind === "software" ? "software " : ""}queue ${queue.queue_id} of ${visible(queue.port)}`,
    `on ${visible(device.name)}: ${rate(queue.load)}${queue.max_rate ? ` of ${rate(queue.max_rate)}` : ""}`,
    plural(queue.flows, "flow"),
    queue.classes.length > 0 ? `class ${queue.classes.map(visible).join(", ")}` : "",
    ...state,
  ].filter(Boolean);
  return (
    <Open
      params={{ lane: laneOf(queue), flow: null }}
      class={`lane ${queue.kind} ${state.join(" ")} ${queue.max_rate && queue.load > queue.max_rate ? "over" : ""}`}
      current={isSelected}
      label={label.join(", ")}
    >
      <span class="track" data-share={share.toFixed(4)}>
        <span class="fill" style={{ height: `${100 * share}%` }}>
          {classes.map((name) => (
            <i key={name} class={colourOf(name)} />
          ))}
        </span>
        {queue.exclusive && <span class="mark" title="exclusive: one flow has it to itself">★</span>}
        {queue.admission !== "open" && <span class="mark stop" title={`${queue.admission}: no new flows`}>⊘</span>}
      </span>
      <b>{queue.queue_id}</b>
      <span class="load" title={percent}>
        {rate(queue.load)}
      </span>
      <span class="dim">{plural(queue.flows, "flow")}</span>
      <Spark history={past} times={times} capacity={capacity} />
    </Open>
  );
}
