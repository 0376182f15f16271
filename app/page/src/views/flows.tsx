/** Search over all flows; the server filters, sorts and pages. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { classNames, status } from "../classes";
import { get, withQuery } from "../client";
import { count, plural, rate, since, visible, words } from "../format";
import { deviceName, readNames } from "../names";
import { usePoll } from "../poll";
import type { Assignment, Flow, Page } from "../rest";
import { changed, go, link, route } from "../route";
import { Badge, ClassName, Field, Name, Open, Table, Trouble } from "../parts/basics";
import { FlowLink, ofAssignment, ofFlow, Place, type Row } from "../parts/flows";
import { FlowPanel } from "./flow";

const LIMIT = 100;

/** Filters of flows, and of their places: with one of these each place is a row. */
const OF_FLOWS = ["vm", "class", "device", "proto", "address", "src", "dst", "l4_port", "src_port", "dst_port"];
const OF_PLACES = ["port", "queue", "kind", "reason"];
const FILTERS = [...OF_FLOWS, ...OF_PLACES];

const SORTS: Record<string, string> = {
  bytes: "Bytes",
  packets: "Packets",
  first_seen: "First seen",
  last_active: "Last active",
};

interface Found {
  rows: Row[];
  next: string | null;
}

async function read(query: Record<string, string | null>, cursor: string | null, signal: AbortSignal): Promise<Found> {
  const asked = { ...query, cursor, limit: LIMIT };
  if (OF_PLACES.some((name) => query[name])) {
    const page = await get<Page<Assignment>>(withQuery("v1/assignments", asked), signal);
    return { rows: page.items.map(ofAssignment), next: page.next };
  }
  const page = await get<Page<Flow>>(withQuery("v1/flows", asked), signal);
  return { rows: page.items.map(ofFlow), next: page.next };
}

export function Flows(): JSX.Element {
  const { params } = route.value;
  const query = Object.fromEntries([...FILTERS, "sort"].map((name) => [name, params.get(name)]));
  query["sort"] ??= "-rate";
  const cursor = params.get("cursor");
  const flow = params.get("flow");
  const key = JSON.stringify([query, cursor]);
  const reading = usePoll(key, (signal) => read(query, cursor, signal));
  useEffect(() => void readNames().catch(() => undefined), []);
  const before = useRef<Found | undefined>(undefined);
  if (reading.value !== undefined) before.current = reading.value;
  if (reading.error !== null && reading.value === undefined) before.current = undefined;
  const found = reading.value ?? before.current;
  const filtered = FILTERS.some((name) => query[name]);
  return (
    <>
      <div id="view">
        <header class="title">
          <h1 tabIndex={-1}>Flows</h1>
          <span class="dim">{status.value !== null && `${count(status.value.flows)} on all devices`}</span>
        </header>
        <Search query={query} />
        <Trouble reading={reading} what="flows" />
        {found !== undefined && (
          <>
            <Table caption="Flows" busy={reading.value === undefined} class="flows" head={<Head sort={query["sort"]} />}>
              {found.rows.map((row) => (
                <FlowRow key={`${row.id} ${row.places[0]?.device}`} row={row} current={row.id === flow} />
              ))}
            </Table>
            <nav class="pages" aria-label="Pages of flows">
              <span role="status" class="dim">
                {found.rows.length === 0
                  ? found.next !== null
                    ? "None on this page."
                    : filtered
                      ? "No flow matches."
                      : "There is no flow."
                  : `${count(found.rows.length)} shown${found.next === null && cursor === null ? ": all" : ""}`}
              </span>
              {cursor !== null && <a href={changed({ cursor: null })}>first page</a>}
              {found.next !== null && (
                <a href={changed({ cursor: found.next })} rel="next">
                  next page
                </a>
              )}
            </nav>
          </>
        )}
      </div>
      {flow !== null && <FlowPanel id={flow} />}
    </>
  );
}

function Head({ sort }: { sort: string }): JSX.Element {
  const falling = sort.startsWith("-");
  const by = sort.replace("-", "");
  const column = (name: string, title: string): JSX.Element => (
    <th scope="col" key={name} class="n" aria-sort={by === name ? (falling ? "descending" : "ascending") : undefined}>
      <button
        type="button"
        class="sort"
        onClick={() => go(changed({ sort: by === name && falling ? name : `-${name}`, cursor: null }), true)}
      >
        {title}
        <span aria-hidden="true">{by === name ? (falling ? " ▾" : " ▴") : ""}</span>
      </button>
    </th>
  );
  return (
    <>
      <th scope="col">Flow</th>
      <th scope="col">VM</th>
      <th scope="col">Class</th>
      {column("rate", "Rate")}
      <th scope="col">Where</th>
      <th scope="col">Why there</th>
      {Object.entries(SORTS).map(([name, title]) => column(name, title))}
    </>
  );
}

function FlowRow({ row, current }: { row: Row; current: boolean }): JSX.Element {
  const { flow } = row;
  // A place without a queue tells little, unless it is the only one.
  const queued = row.places.filter((place) => place.queue_id !== null);
  const shown = queued.length > 0 || row.places.length > 1 ? queued : row.places;
  return (
    <tr class={current ? "current" : ""} data-flow={row.id}>
      <td>
        <FlowLink flow={row} current={current} />
      </td>
      <td class="vm">
        {row.vm === null ? (
          "–"
        ) : (
          <Open view="vms" params={{ vm: row.vm }}>
            <Name text={row.vm_name ?? row.vm} title={`id ${row.vm}`} />
          </Open>
        )}
      </td>
      <td>
        <ClassName name={row.class} />
      </td>
      <td class="n">{rate(row.rate)}</td>
      <td>
        {shown.map((place) => (
          <div key={place.device}>
            <Place place={place} device={deviceName(place.device)} />
            {place.manual_pin && <Badge tone="warn">by hand</Badge>}
          </div>
        ))}
        {shown.length < row.places.length && (
          <span class="dim" title={row.places.map((place) => visible(deviceName(place.device))).join(", ")}>
            {shown.length > 0 ? "and " : ""}
            {plural(row.places.length - shown.length, "device")} without queues
          </span>
        )}
      </td>
      <td class="dim">
        {shown.map((place) => (
          <div key={place.device}>{words(place.reason)}</div>
        ))}
      </td>
      <td class="n">{flow === null ? "–" : rate(flow.bytes, "B")}</td>
      <td class="n">{flow === null ? "–" : count(flow.packets)}</td>
      <td class="n">{flow === null ? "–" : `${since(flow.first_seen)} ago`}</td>
      <td class="n">{flow === null ? "–" : `${since(flow.last_active)} ago`}</td>
    </tr>
  );
}

const PROTOCOLS = ["tcp", "udp", "sctp", "icmp", "icmpv6", "arp"];
const ADDRESS = /^([0-9.]+(\/\d+)?|[0-9a-f]*:[0-9a-f:.]*(\/\d+)?)$/i;

/**
 * Words of the search box as filters: name=value as in REST, a protocol, an address or prefix (either end), a port
 * number (either end), a class, else a VM.
 */
export function filtersOf(text: string, classes: string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const [, name, value] = /^([a-z0-9_]+)=(.+)$/.exec(word) ?? [];
    if (name !== undefined && value !== undefined && FILTERS.includes(name)) found[name] = value;
    else if (PROTOCOLS.includes(word.toLowerCase())) found["proto"] = word.toLowerCase();
    else if (/^:?\d{1,5}$/.test(word)) found["l4_port"] = word.replace(":", "");
    else if (ADDRESS.test(word)) found["address"] = word;
    else if (classes.includes(word)) found["class"] = word;
    else found["vm"] = found["vm"] === undefined ? word : `${found["vm"]} ${word}`;
  }
  return found;
}

function Search({ query }: { query: Record<string, string | null> }): JSX.Element {
  const given = FILTERS.filter((name) => query[name]);
  const [text, setText] = useState("");
  const [more, setMore] = useState(false);
  const submit = (event: Event): void => {
    event.preventDefault();
    go(changed({ ...filtersOf(text, classNames.value), cursor: null }));
    setText("");
  };
  const set = (name: string) => (event: Event) =>
    go(changed({ [name]: (event.currentTarget as HTMLInputElement).value.trim() || null, cursor: null }), true);
  return (
    <search>
      <form class="search" onSubmit={submit} role="search" aria-label="Flows">
        <input
          id="search"
          type="search"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          aria-label="Search flows: VM, class, address, prefix, port or protocol"
          placeholder="VM, class, address, port, protocol – or queue=2"
          autocomplete="off"
          spellcheck={false}
        />
        <button type="submit">Search</button>
        <button type="button" class="quiet" aria-expanded={more} onClick={() => setMore(!more)}>
          Filters
        </button>
      </form>
      {given.length > 0 && (
        <ul class="chips" aria-label="Filters in force">
          {given.map((name) => (
            <li key={name}>
              <button
                type="button"
                onClick={() => go(changed({ [name]: null, cursor: null }))}
                aria-label={`Remove filter ${name} ${query[name]}`}
              >
                {words(name)}: <Name text={name === "device" ? deviceName(query[name] ?? "") : (query[name] ?? "")} /> <span aria-hidden="true">✕</span>
              </button>
            </li>
          ))}
          <li>
            <a href={link("flows")}>all flows</a>
          </li>
        </ul>
      )}
      {more && (
        <div class="filters">
          <Field label="Class">
            <select value={query["class"] ?? ""} onChange={set("class")}>
              <option value="">any</option>
              {classNames.value.map((name) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </Field>
          <Field label="Queue is">
            <select value={query["kind"] ?? ""} onChange={set("kind")}>
              <option value="">any</option>
              <option value="physical">hardware</option>
              <option value="software">software</option>
              <option value="none">none</option>
            </select>
          </Field>
          {[
            ["vm", "VM"],
            ["device", "Device"],
            ["port", "Egress port"],
            ["queue", "Queue id"],
            ["proto", "Protocol"],
            ["src", "Source"],
            ["dst", "Destination"],
            ["src_port", "Source port"],
            ["dst_port", "Destination port"],
          ].map(([name = "", label = ""]) => (
            <Field key={name} label={label}>
              <input value={query[name] ?? ""} onChange={set(name)} autocomplete="off" spellcheck={false} />
            </Field>
          ))}
        </div>
      )}
    </search>
  );
}
