/** Devices: what they are, what of the policy they do not get; the databases that describe them. */

import type { JSX } from "preact";
import { get, segment, withQuery } from "../client";
import { count, plural, rate, since, visible } from "../format";
import { remember } from "../names";
import { usePoll } from "../poll";
import type { Device, Page } from "../rest";
import { changed, route } from "../route";
import { Badge, Facts, isGone, Name, Note, Open, Panel, Table, Trouble } from "../parts/basics";

interface Database {
  name: string;
  target: string;
  state: string;
  since: string;
  problem: string;
  hostname: string;
  bridges: number;
}

const LIMIT = 100;

export function Devices(): JSX.Element {
  const { params } = route.value;
  const cursor = params.get("cursor");
  const chosen = params.get("device");
  const reading = usePoll(`devices ${cursor}`, async (signal) => {
    const page = await get<Page<Device>>(withQuery("v1/devices", { limit: LIMIT, cursor }), signal);
    remember(page.items);
    return page;
  });
  const databases = usePoll("databases", (signal) => get<Page<Database>>("v1/databases", signal), 5000);
  return (
    <>
      <div id="view">
        <header class="title">
          <h1 tabIndex={-1}>Devices</h1>
        </header>
        <Trouble reading={reading} what="devices" />
        {reading.value?.items.length === 0 && <Note>No device is known yet.</Note>}
        {reading.value !== undefined && reading.value.items.length > 0 && (
          <Table
            caption="Devices"
            head={["Name", "State", "Role", "OpenFlow", "Flows", "Pinned", "Free hardware", "Free software", "Meters", "Notes"].map(
              (title, place) => (
                <th key={title} scope="col" class={place > 3 && place < 9 ? "n" : ""}>
                  {title}
                </th>
              ),
            )}
          >
            {reading.value.items.map((device) => (
              <tr key={device.dpid} class={`${device.dpid === chosen ? "current" : ""} ${isOff(device) ? "gone" : ""}`}>
                <td>
                  <Open params={{ device: device.dpid }} current={device.dpid === chosen}>
                    <Name text={device.name || device.dpid} title={`datapath id ${device.dpid}`} />
                  </Open>
                </td>
                <td>
                  <State device={device} />
                </td>
                <td>{device.role}</td>
                <td>{device.version}</td>
                <td class="n">{count(device.flows)}</td>
                <td class="n">{count(device.pinned)}</td>
                {(["physical", "software"] as const).map((kind) => (
                  <td class="n" key={kind}>
                    {device.queues[kind].free} of {device.queues[kind].total}
                  </td>
                ))}
                <td class="n">
                  {device.meters} of {count(device.capabilities.max_meters)}
                </td>
                <td>
                  <Notes device={device} />
                </td>
              </tr>
            ))}
          </Table>
        )}
        {(cursor !== null || reading.value?.next) && (
          <nav class="pages" aria-label="Pages of devices">
            {cursor !== null && <a href={changed({ cursor: null })}>first page</a>}
            {reading.value?.next && <a href={changed({ cursor: reading.value.next })}>next page</a>}
          </nav>
        )}
        {databases.value !== undefined && databases.value.items.length > 0 && (
          <section>
            <h2>Databases</h2>
            <Table
              caption="Open vSwitch databases"
              head={["Name", "Host", "State", "Bridges", "Target"].map((title) => (
                <th key={title} scope="col">
                  {title}
                </th>
              ))}
            >
              {databases.value.items.map((one) => (
                <tr key={one.name}>
                  <td>
                    <Name text={one.name} />
                  </td>
                  <td>
                    <Name text={one.hostname || "–"} />
                  </td>
                  <td>
                    <Badge tone={one.state === "synchronized" || one.state === "listening" ? "good" : "bad"}>{one.state}</Badge>{" "}
                    <span class="dim">{since(one.since)}</span> {visible(one.problem)}
                  </td>
                  <td>{one.bridges}</td>
                  <td>
                    <Name text={one.target} />
                  </td>
                </tr>
              ))}
            </Table>
          </section>
        )}
      </div>
      {chosen !== null && <DevicePanel dpid={chosen} />}
    </>
  );
}

const isOff = (device: Device): boolean => !device.connected && !device.declared;

export function State({ device }: { device: Device }): JSX.Element {
  if (device.declared) return <Badge>passive</Badge>;
  return device.connected ? (
    <>
      <Badge tone="good">connected</Badge> <span class="dim">{since(device.since)}</span>
    </>
  ) : (
    <>
      <Badge tone="bad">disconnected</Badge> <span class="dim">{since(device.since)}</span>
    </>
  );
}

function Notes({ device }: { device: Device }): JSX.Element {
  const refusals = Object.values(device.refusals).reduce((sum, number) => sum + number, 0);
  return (
    <>
      {device.unusable !== null && <Badge tone="bad">left alone</Badge>}
      {device.left_out.length > 0 && <Badge tone="warn">{plural(device.left_out.length, "part")} left out</Badge>}
      {device.conflicts.length > 0 && <Badge tone="warn">{plural(device.conflicts.length, "conflict")}</Badge>}
      {device.ambiguous.length > 0 && <Badge tone="warn">roles guessed</Badge>}
      {refusals > 0 && <Badge tone="warn">{plural(refusals, "refusal")}</Badge>}
      {Boolean(device.copies_dropped) && <Badge tone="warn">{plural(device.copies_dropped ?? 0, "copy", "copies")} dropped</Badge>}
    </>
  );
}

export function DevicePanel({ dpid }: { dpid: string }): JSX.Element {
  const reading = usePoll(`device ${dpid}`, (signal) => get<Device>(`v1/devices/${segment(dpid)}`, signal));
  const device = reading.value;
  const gone = isGone(reading.error);
  return (
    <Panel
      id={dpid}
      closing={["device"]}
      gone={gone || (device !== undefined && isOff(device))}
      title={<Name text={device?.name || dpid} title={`datapath id ${dpid}`} />}
    >
      {gone ? <Note tone="warn">There is no such device any more.</Note> : <Trouble reading={reading} what="the device" />}
      {device !== undefined && (
        <>
          <p>
            <State device={device} />
          </p>
          <p class="links">
            <Open view="lanes" params={{ device: dpid }}>
              its lanes
            </Open>
            <Open view="flows" params={{ device: dpid }}>
              its flows
            </Open>
            <Open view="topology" params={{ device: dpid }}>
              in the topology
            </Open>
          </p>
          <Facts
            of={[
              ["datapath id", <code>{device.dpid}</code>],
              ["role", device.role],
              ["address", device.peer],
              ["OpenFlow", device.version],
              ["forwarding", device.forwarding === "normal" ? "by the switch (NORMAL)" : "by Flowlane"],
              ["queues by", device.queues_by],
              ["exact entries", `${count(device.pinned)} of ${count(device.pin_budget)}`],
              ["copies dropped", device.copies_dropped],
              ["description", visible(device.capabilities.description)],
              ["left alone", device.unusable === null ? "" : visible(device.unusable)],
            ]}
          />
          <List title="Left out of the policy" items={device.left_out.map((one) => `${one.what}: ${one.why}; ${one.remedy}`)} />
          <List title="Conflicts with entries of others" items={device.conflicts} />
          <List
            title="Roles that are guesses"
            items={device.ambiguous.map((one) => `${one.ports.join(", ")}: ${one.role}, ${one.why}`)}
          />
          <List title="Refused by the switch" items={Object.entries(device.refusals).map(([why, number]) => `${number} × ${why}`)} />
          <h3>Ports</h3>
          <Table
            caption={`Ports of ${visible(device.name)}`}
            head={["Port", "Role", "Link", "Rate", "Queues"].map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          >
            {device.ports.map((port) => (
              <tr key={port.port_no}>
                <td>
                  <Name text={port.name} title={`OpenFlow number ${port.port_no}`} />
                </td>
                <td title={visible(port.role_reason)}>{port.role}</td>
                <td>{port.up === null ? "–" : port.up ? "up" : <Badge tone="bad">down</Badge>}</td>
                <td>{rate(port.rate)}</td>
                <td>{port.queues.length || "–"}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
    </Panel>
  );
}

function List({ title, items }: { title: string; items: string[] }): JSX.Element | null {
  if (items.length === 0) return null;
  return (
    <>
      <h3>{title}</h3>
      <ul>
        {items.map((item) => (
          <li key={item}>{visible(item)}</li>
        ))}
      </ul>
    </>
  );
}
