/** VMs: where they are, what claims them, and the hints that were given for them. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { classNames } from "../classes";
import { get, segment, withQuery } from "../client";
import { count, time, visible } from "../format";
import { deviceName, readNames } from "../names";
import { usePoll } from "../poll";
import type { Page, Vm } from "../rest";
import { changed, go, route } from "../route";
import { Badge, Facts, isGone, Name, Note, Open, Panel, Table, Trouble } from "../parts/basics";
import { Hints } from "../parts/hints";

const LIMIT = 100;

export function Vms(): JSX.Element {
  const { params } = route.value;
  const cursor = params.get("cursor");
  const chosen = params.get("vm");
  const device = params.get("device");
  const reading = usePoll(`vms ${cursor} ${device}`, async (signal) => {
    const [page] = await Promise.all([
      get<Page<Vm>>(withQuery("v1/vms", { limit: LIMIT, cursor, device }), signal),
      readNames(signal),
    ]);
    return page;
  });
  const [text, setText] = useState("");
  return (
    <>
      <div id="view">
        <header class="title">
          <h1 tabIndex={-1}>VMs</h1>
          {device !== null && (
            <a href={changed({ device: null, cursor: null })}>
              on <Name text={deviceName(device)} /> ✕
            </a>
          )}
        </header>
        <form
          class="search"
          role="search"
          aria-label="VMs"
          onSubmit={(event) => {
            event.preventDefault();
            if (text.trim()) go(changed({ vm: text.trim() }));
          }}
        >
          <input
            id="search"
            type="search"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            aria-label="Find a VM by name or id"
            placeholder="name or id of a VM"
            autocomplete="off"
            spellcheck={false}
          />
          <button type="submit">Find</button>
        </form>
        <Trouble reading={reading} what="VMs" />
        {reading.value?.items.length === 0 && <Note>No VM is known: none is described in OVSDB, and none has sent a packet.</Note>}
        {reading.value !== undefined && reading.value.items.length > 0 && (
          <Table
            caption="VMs"
            head={["Name", "Device", "Port", "Addresses", "Flows", "Hints", "Notes"].map((title, place) => (
              <th key={title} scope="col" class={place === 4 || place === 5 ? "n" : ""}>
                {title}
              </th>
            ))}
          >
            {reading.value.items.map((vm) => (
              <tr key={vm.id} class={vm.id === chosen ? "current" : ""}>
                <td>
                  <Open params={{ vm: vm.id }} current={vm.id === chosen}>
                    <Name text={vm.name || vm.id} title={`id ${visible(vm.id)}`} />
                  </Open>
                </td>
                <td>
                  <Name text={deviceName(vm.device)} title={`datapath id ${vm.device}`} />
                </td>
                <td>
                  <Name text={vm.port} />
                </td>
                <td class="dim">{vm.macs.join(", ") || "–"}</td>
                <td class="n">{count(vm.flows)}</td>
                <td class="n">{count(vm.hints)}</td>
                <td>
                  {vm.conflicts.length > 0 && <Badge tone="bad">contested</Badge>}
                  {vm.claims.some((claim) => claim.state === "disconnected") && <Badge tone="warn">device disconnected</Badge>}
                  {vm.nics.length > 1 && <Badge>{vm.nics.length} NICs</Badge>}
                </td>
              </tr>
            ))}
          </Table>
        )}
        {(cursor !== null || reading.value?.next) && (
          <nav class="pages" aria-label="Pages of VMs">
            {cursor !== null && <a href={changed({ cursor: null })}>first page</a>}
            {reading.value?.next && <a href={changed({ cursor: reading.value.next })}>next page</a>}
          </nav>
        )}
      </div>
      {chosen !== null && <VmPanel id={chosen} />}
    </>
  );
}

function VmPanel({ id }: { id: string }): JSX.Element {
  const reading = usePoll(`vm ${id}`, (signal) => get<Vm>(`v1/vms/${segment(id)}`, signal));
  const vm = reading.value;
  const gone = isGone(reading.error);
  return (
    <Panel id={id} closing={["vm"]} gone={gone} title={<Name text={vm?.name || id} title={`id ${visible(id)}`} />}>
      {gone ? (
        <Note tone="warn" live>
          {vm === undefined ? visible(reading.error?.message ?? "") : `This VM is gone; what you see is of ${time(reading.at)}.`}
        </Note>
      ) : (
        <Trouble reading={reading} what="the VM" />
      )}
      {vm !== undefined && (
        <>
          <p class="links">
            <Open view="flows" params={{ vm: vm.id }}>
              its {count(vm.flows)} flows
            </Open>
            <Open view="devices" params={{ device: vm.device }}>
              its device
            </Open>
          </p>
          <Facts
            of={[
              ["device", <Name text={deviceName(vm.device)} title={`datapath id ${vm.device}`} />],
              ["port", <Name text={vm.port} />],
              ["addresses", vm.macs.join(", ")],
              ["also used", vm.other_macs.join(", ")],
              ["id", <Name text={vm.id} />],
              ["id from", vm.source],
              ["virtual machine", vm.vm_uuid !== null && <Name text={vm.vm_uuid} />],
            ]}
          />
          {vm.conflicts.map((one) => (
            <Note tone="bad" key={`${one.what} ${one.key}`}>
              Others claim its {one.what} <Name text={one.key} />: {visible(one.others.join(", "))}. The traffic goes by{" "}
              <Name text={one.holder} />.
            </Note>
          ))}
          {vm.claims.length > 1 && (
            <>
              <h3>Ports that claim it</h3>
              <ul>
                {vm.claims.map((claim) => (
                  <li key={`${claim.device} ${claim.port}`}>
                    <Name text={deviceName(claim.device)} />, <Name text={claim.port} />: {claim.state}
                  </li>
                ))}
              </ul>
            </>
          )}
          {vm.paths.length > 1 && (
            <>
              <h3>Its interfaces</h3>
              <ul>
                {vm.paths.map((path) => (
                  <li key={path.vm}>
                    <Name text={deviceName(path.device)} />, <Name text={path.port} /> ({path.role}
                    {path.up ? "" : ", down"}): {count(path.flows)} flows
                  </li>
                ))}
              </ul>
            </>
          )}
          <Hints vm={vm} classes={classNames.value} changed={reading.again} />
        </>
      )}
    </Panel>
  );
}

