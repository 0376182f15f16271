/** One flow: its way over the devices, why each has it on its queue, and a pin by hand. */

import type { ComponentChildren, JSX } from "preact";
import { useRef } from "preact/hooks";
import { get, segment } from "../client";
import { bytes, count, flowName, plural, rate, since, time, visible, words } from "../format";
import { usePoll } from "../poll";
import type { DeviceExplanation, Explanation, Flow, Hop } from "../rest";
import { Badge, ClassName, Facts, isGone, Name, Note, Open, Panel, Table, Trouble } from "../parts/basics";
import { PinForm } from "../parts/pin";

interface Told {
  flow: Flow;
  why: Explanation;
}

export function FlowPanel({ id }: { id: string }): JSX.Element {
  const path = `v1/flows/${segment(id)}`;
  const reading = usePoll(`flow ${id}`, async (signal): Promise<Told> => {
    const [flow, why] = await Promise.all([get<Flow>(path, signal), get<Explanation>(`${path}/explain`, signal)]);
    return { flow, why };
  });
  const gone = isGone(reading.error);
  const last = useRef<Flow | null>(null);
  if (reading.value !== undefined) last.current = reading.value.flow;
  const flow = reading.value?.flow;
  return (
    <Panel id={id} closing={["flow"]} gone={gone} title={<Name text={flow ? flowName(flow) : "Flow"} title={`flow ${id}`} />}>
      {gone ? (
        <Note tone="warn" live>
          This flow is gone{reading.at > 0 && `; what you see is of ${time(reading.at)}`}.
        </Note>
      ) : (
        <Trouble reading={reading} what="the flow" />
      )}
      {reading.value !== undefined && flow !== undefined && (
        <>
          <p class="big">
            {rate(flow.rate)} <ClassName name={flow.class} />
          </p>
          <Facts
            of={[
              [
                "VM",
                flow.vm !== null && (
                  <Open view="vms" params={{ vm: flow.vm }}>
                    <Name text={flow.vm_name ?? flow.vm} title={`id ${flow.vm}`} />
                  </Open>
                ),
              ],
              ["VLAN", flow.vlan],
              ["limit", flow.limit !== null && `${rate(flow.limit)}; ${rate(flow.passed_rate)} pass`],
              ["priority", flow.priority || ""],
              ["hint", flow.hint && `${visible(flow.hint.class)} (${flow.hint.source})`],
              ["DSCP", flow.dscp || ""],
              ["sent", `${bytes(flow.bytes)}, ${plural(flow.packets, "packet")}`],
              ["age", `${since(flow.first_seen)}, last active ${since(flow.last_active)} ago`],
            ]}
          />
          <h3>Its way</h3>
          <Way hops={reading.value.why.way} />
          {reading.value.why.devices.map((device) => (
            <Why key={device.device} told={device} />
          ))}
          <PinForm flow={flow} changed={reading.again} disabled={gone} />
        </>
      )}
    </Panel>
  );
}

function Way({ hops }: { hops: Hop[] }): JSX.Element {
  if (hops.length === 0) return <p class="dim">Its way is not known.</p>;
  return (
    <ol class="way">
      {hops.map((hop, place) => (
        <li key={place} class={hop.assigned ? "assigned" : ""}>
          {hop.device === null ? (
            <b>
              <Name text={hop.device_name || "not known"} />
            </b>
          ) : (
            <Open view="topology" params={{ device: hop.device }}>
              <Name text={hop.device_name || hop.device} title={`datapath id ${hop.device}`} />
            </Open>
          )}
          <span class="dim">
            in <Name text={hop.in_port ?? "?"} />, out <Name text={hop.out_port ?? "?"} />
          </span>
          {hop.queue_id !== null && <span class="queue">queue {hop.queue_id}</span>}
          {hop.note !== "" && <span class="dim">{visible(hop.note)}</span>}
        </li>
      ))}
    </ol>
  );
}

function Why({ told }: { told: DeviceExplanation }): JSX.Element {
  return (
    <Section told={told}>
      <p>
        {told.queue_id === null ? "No queue" : `${told.kind === "software" ? "Software queue" : "Queue"} ${told.queue_id}`} of{" "}
        <Name text={told.port} /> for {since(told.since)}: {visible(words(told.reason))}
      </p>
      <Facts
        of={[
          ["rule", visible(told.rule)],
          ["hint", visible(told.hint)],
          ["no hardware queue", visible(told.not_hardware)],
          ["meter", visible(told.meter)],
          ["entry", visible(told.entry)],
          [
            "came from",
            told.came_from &&
              `${visible(told.came_from.device_name)}, ${visible(told.came_from.port)}: ${visible(told.came_from.why)}`,
          ],
        ]}
      />
      {told.considered.length > 0 && (
        <details>
          <summary>{plural(told.considered.length, "queue")} considered</summary>
          <Table
            caption={`Queues considered on ${visible(told.device_name)}`}
            head={
              <>
                <th scope="col">Queue</th>
                <th scope="col" class="n">
                  Load
                </th>
                <th scope="col" class="n">
                  Flows
                </th>
                <th scope="col">Why not</th>
              </>
            }
          >
            {told.considered.map((one) => (
              <tr key={one.queue_id} class={one.why === "" ? "chosen" : ""}>
                <td>
                  {one.queue_id} <span class="dim">{one.kind}</span>
                </td>
                <td class="n">{rate(one.load)}</td>
                <td class="n">{count(one.flows)}</td>
                <td>{one.why === "" ? <Badge tone="good">here it is</Badge> : visible(one.why)}</td>
              </tr>
            ))}
          </Table>
        </details>
      )}
      {told.rules_before.length > 0 && (
        <details>
          <summary>{plural(told.rules_before.length, "rule")} before it did not match</summary>
          <ul>
            {told.rules_before.map((one) => (
              <li key={one.rule}>
                <Name text={one.rule} />: {visible(one.unmet.join("; "))}
              </li>
            ))}
          </ul>
        </details>
      )}
      {told.would_change.length > 0 && (
        <>
          <h4>What would change it</h4>
          <ul>
            {told.would_change.map((one) => (
              <li key={one}>{visible(one)}</li>
            ))}
          </ul>
        </>
      )}
      {told.other_paths.map((path) => (
        <p key={`${path.device_name} ${path.port}`} class="dim">
          Other interface of the VM: {visible(path.device_name)}, {visible(path.port)}
          {path.up ? "" : " (down)"}. {visible(path.note)}
        </p>
      ))}
    </Section>
  );
}

/** A device without a queue for the flow is folded. */
function Section({ told, children }: { told: DeviceExplanation; children: ComponentChildren }): JSX.Element {
  const heading = (
    <h3>
      Why on <Name text={told.device_name || told.device} title={`datapath id ${told.device}`} />
    </h3>
  );
  return (
    <section class="why" aria-label={`Why on ${visible(told.device_name)}`}>
      {told.queue_id === null ? (
        <details class="away">
          <summary>
            {heading} <span class="dim">no queue</span>
          </summary>
          {children}
        </details>
      ) : (
        <>
          {heading}
          {children}
        </>
      )}
    </section>
  );
}

