/** Devices and the links between them, drawn; the same as a table for those who do not see the drawing. */

import dagre from "@dagrejs/dagre";
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { plural, since, visible } from "../format";
import { readNames } from "../names";
import { usePoll } from "../poll";
import type { Link, LinkEnd, Topology as Network, TopologyDevice } from "../rest";
import { route } from "../route";
import { Badge, Name, Note, Open, Table, Trouble } from "../parts/basics";
import { DevicePanel } from "./devices";

const WIDTH = 168;
const HEIGHT = 58;
/** Characters of a name in a box; the whole one is its title. */
const NAME = 20;
/** Devices that are laid out at most: more are not readable in a drawing, and the layout takes seconds. */
const DRAWN = 250;

export function Topology(): JSX.Element {
  const chosen = route.value.params.get("device");
  const reading = usePoll("topology", readNames, 3000);
  const network = reading.value;
  return (
    <>
      <div id="view">
        <header class="title">
          <h1 tabIndex={-1}>Topology</h1>
          {network && (
            <span class="dim">
              {plural(network.devices.length, "device")}, {plural(network.links.length, "link")},{" "}
              {plural(network.hosts.length, "host")}
            </span>
          )}
        </header>
        <Trouble reading={reading} what="the topology" />
        {network?.loops.map((loop) => (
          <Note tone="bad" key={JSON.stringify(loop)}>
            A loop that nobody breaks: {loop.ports.map(endText).join(" – ")}
            {loop.without_spanning_tree.length > 0 && `; no spanning tree on ${loop.without_spanning_tree.map(visible).join(", ")}`}
          </Note>
        ))}
        {network?.expected && <Deviations expected={network.expected} />}
        {network?.devices.length === 0 && <Note>No device is known yet.</Note>}
        {network !== undefined && network.devices.length > DRAWN && (
          <Note>
            {plural(network.devices.length, "device")} are too many for a drawing; <code>flowlane topology --dot</code> writes one
            for Graphviz.
          </Note>
        )}
        {network !== undefined && network.devices.length > 0 && network.devices.length <= DRAWN && (
          <Drawing network={network} chosen={chosen} />
        )}
        {network !== undefined && network.devices.length > 0 && <Links network={network} />}
      </div>
      {chosen !== null && <DevicePanel dpid={chosen} />}
    </>
  );
}

const endText = (end: LinkEnd): string => `${visible(end.device_name || end.device)} ${visible(end.port)}`;

function Deviations({ expected }: { expected: NonNullable<Network["expected"]> }): JSX.Element {
  const { deviations, source } = expected;
  if (deviations.length === 0) return <Note tone="good">As expected by {visible(source)}.</Note>;
  return (
    <Note tone="warn">
      {plural(deviations.length, "difference")} from {visible(source)}:
      <ul>
        {deviations.map((one) => (
          <li key={one.text}>{visible(one.text)}</li>
        ))}
      </ul>
    </Note>
  );
}

interface Box {
  device: TopologyDevice;
  x: number;
  y: number;
}

interface Line {
  link: Link;
  points: { x: number; y: number }[];
}

interface Layout {
  width: number;
  height: number;
  boxes: Box[];
  lines: Line[];
}

/** What the layout depends on: it stays while only states change, so that nothing jumps. */
function shapeOf(network: Network): string {
  return JSON.stringify([
    network.devices.map((device) => [device.dpid, device.role]),
    network.links.map((link) => link.ends.map((end) => [end.device, end.port_no])),
  ]);
}

/** Switches above, hosts' bridges below. */
function layOut(network: Network): Layout {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", nodesep: 26, ranksep: 70, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  // Where VMs are is below: a bridge to the network comes between them and the switch.
  const depth = { switch: 0, nic: 1, vswitch: 2 } as Record<string, number>;
  const level = new Map(
    network.devices.map((device) => [device.dpid, (depth[device.role ?? ""] ?? 2) + (device.vms.length > 0 ? 0.5 : 0)]),
  );
  for (const device of network.devices) graph.setNode(device.dpid, { width: WIDTH, height: HEIGHT });
  network.links.forEach((link, place) => {
    const [one, other] = link.ends;
    if (one === undefined || other === undefined || !level.has(one.device) || !level.has(other.device)) return;
    const isDown = (level.get(one.device) ?? 0) <= (level.get(other.device) ?? 0);
    const [from, to] = isDown ? [one, other] : [other, one];
    graph.setEdge(from.device, to.device, { minlen: 1 }, String(place));
  });
  dagre.layout(graph);
  const size = graph.graph();
  return {
    width: Math.max(size.width ?? 0, WIDTH),
    height: Math.max(size.height ?? 0, HEIGHT),
    boxes: network.devices.map((device) => ({ device, ...pick(graph.node(device.dpid)) })),
    lines: graph.edges().flatMap((edge) => {
      const link = network.links[Number(edge.name)];
      return link === undefined ? [] : [{ link, points: graph.edge(edge).points ?? [] }];
    }),
  };
}

const pick = ({ x, y }: { x: number; y: number }): { x: number; y: number } => ({ x, y });

const ZOOMS = [0.5, 0.75, 1, 1.5, 2];

function Drawing({ network, chosen }: { network: Network; chosen: string | null }): JSX.Element {
  const shape = shapeOf(network);
  const layout = useMemo(() => layOut(network), [shape]);
  const [zoom, setZoom] = useState(1);
  const states = new Map(network.links.map((link) => [keyOf(link), link]));
  const devices = new Map(network.devices.map((device) => [device.dpid, device]));
  const hosts = new Map(network.hosts.map((host) => [host.id, host.name || host.id]));
  const step = (by: number): void => setZoom(ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(zoom) + by))] ?? 1);
  return (
    <div class="drawing">
      <div class="zoom" role="group" aria-label="Zoom">
        <button type="button" onClick={() => step(-1)} aria-label="Smaller" disabled={zoom === ZOOMS[0]}>
          −
        </button>
        <span aria-live="polite">{Math.round(100 * zoom)} %</span>
        <button type="button" onClick={() => step(1)} aria-label="Larger" disabled={zoom === ZOOMS.at(-1)}>
          +
        </button>
      </div>
      <div class="scroll" role="region" aria-label="Drawing of the topology" tabIndex={0}>
        <svg
          viewBox={`0 0 ${layout.width} ${layout.height}`}
          width={layout.width * zoom}
          height={layout.height * zoom}
          role="group"
          aria-label="Devices and links"
        >
          {layout.lines.map(({ link, points }) => {
            const now = states.get(keyOf(link)) ?? link;
            return (
              <g key={keyOf(link)} class={`link ${now.state} ${now.kind}`}>
                <title>{`${now.ends.map(endText).join(" – ")}: ${now.kind}, ${now.state}`}</title>
                <polyline points={points.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ")} />
                <Ends link={now} points={points} devices={layout.boxes} />
              </g>
            );
          })}
          {layout.boxes.map(({ device, x, y }) => {
            const now = devices.get(device.dpid) ?? device;
            return <DeviceBox key={device.dpid} device={now} x={x} y={y} host={hosts.get(now.host ?? "") ?? ""} isChosen={chosen === now.dpid} />;
          })}
        </svg>
      </div>
    </div>
  );
}

const keyOf = (link: Link): string => link.ends.map((end) => `${end.device}/${end.port_no}`).join(" ");

/** The ports' names beside the ends of the line. */
function Ends({
  link,
  points,
  devices,
}: {
  link: Link;
  points: { x: number; y: number }[];
  devices: Box[];
}): JSX.Element {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return <></>;
  const near = (end: LinkEnd): { x: number; y: number } => {
    const box = devices.find((one) => one.device.dpid === end.device) ?? first;
    const distance = (point: { x: number; y: number }): number => Math.hypot(point.x - box.x, point.y - box.y);
    return distance(first) <= distance(last) ? first : last;
  };
  return (
    <>
      {link.ends.map((end) => {
        const at = near(end);
        const below = at.y === Math.min(first.y, last.y);
        return (
          <text key={`${end.device} ${end.port_no}`} x={at.x + 5} y={at.y + (below ? 13 : -5)} class="port-name">
            {short(end.port, 12)}
          </text>
        );
      })}
    </>
  );
}

function short(text: string, length: number): string {
  const shown = visible(text);
  return shown.length > length ? `${shown.slice(0, length - 1)}…` : shown;
}

function DeviceBox({
  device,
  x,
  y,
  host,
  isChosen,
}: {
  device: TopologyDevice;
  x: number;
  y: number;
  host: string;
  isChosen: boolean;
}): JSX.Element {
  const off = !device.connected && !device.declared;
  const state = device.declared ? "passive" : device.connected ? "connected" : device.role === null ? "not connected" : "disconnected";
  const name = device.name || device.dpid;
  const label = `${visible(name)}, ${device.role ?? "bridge"}, ${state}${host ? `, on ${visible(host)}` : ""}, ${plural(device.vms.length, "VM")}`;
  return (
    <Open params={{ device: device.dpid }} class={`box ${device.role ?? "bridge"} ${off ? "off" : ""} ${isChosen ? "chosen" : ""}`} current={isChosen} label={label}>
      <title>{visible(name)}</title>
      <rect x={x - WIDTH / 2} y={y - HEIGHT / 2} width={WIDTH} height={HEIGHT} rx="8" />
      <text x={x - WIDTH / 2 + 10} y={y - 10} class="device-name">
        {short(name, NAME)}
      </text>
      <text x={x - WIDTH / 2 + 10} y={y + 6}>
        {device.role ?? "bridge"}
        {off ? `, ${state}` : ""}
      </text>
      <text x={x - WIDTH / 2 + 10} y={y + 21}>
        {device.vms.length > 0 ? plural(device.vms.length, "VM") : ""}
        {device.vms.length > 0 && host ? " on " : ""}
        {short(host, NAME)}
      </text>
    </Open>
  );
}

function Links({ network }: { network: Network }): JSX.Element {
  return (
    <section>
      <h2>Links</h2>
      {network.links.length + network.unknown.length === 0 && <p class="dim">No link between devices is known.</p>}
      {network.links.length + network.unknown.length > 0 && (
        <Table
          caption="Links"
          head={["One end", "Other end", "Kind", "State"].map((title) => (
            <th key={title} scope="col">
              {title}
            </th>
          ))}
        >
          {network.links.map((link) => (
            <tr key={keyOf(link)} class={link.state === "up" ? "" : "gone"}>
              {link.ends.map((end) => (
                <td key={end.device + end.port}>
                  <End end={end} />
                </td>
              ))}
              <td>{link.kind}</td>
              <td>
                <Badge tone={link.state === "up" ? "good" : link.state === "down" ? "bad" : "warn"}>{link.state}</Badge>{" "}
                <span class="dim">{link.since !== null && since(link.since)}</span>
                {link.one_way && <Badge tone="warn">one way</Badge>}
              </td>
            </tr>
          ))}
          {network.unknown.map((end) => (
            <tr key={`${end.device}/${end.port_no}`}>
              <td>
                <End end={end} />
              </td>
              <td class="dim">
                {end.remote === null ? "not known" : `tunnel to ${visible(end.remote)}`}; {plural(end.addresses, "address", "addresses")}{" "}
                behind it
              </td>
              <td>–</td>
              <td>–</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}

function End({ end }: { end: LinkEnd }): JSX.Element {
  return (
    <>
      <Open params={{ device: end.device }}>
        <Name text={end.device_name || end.device} title={`datapath id ${end.device}`} />
      </Open>{" "}
      <Name text={end.port} />
    </>
  );
}
