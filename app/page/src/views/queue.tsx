/** One queue: its facts, its last hour, its largest flows; cordon and drain. */

import type { JSX } from "preact";
import { get, segment, withQuery } from "../client";
import { bytes, count, plural, rate, visible } from "../format";
import { deviceName } from "../names";
import { usePoll } from "../poll";
import type { Assignment, Page, Queue } from "../rest";
import { Badge, ClassName, Facts, Meter, Name, Note, Open, Panel, Table, Trouble } from "../parts/basics";
import { FlowLink, ofAssignment } from "../parts/flows";
import { QueueHistory } from "../parts/history";
import { Admission } from "../parts/admission";

const FLOWS = 20;

export function QueuePanel({ lane }: { lane: string }): JSX.Element {
  const [dpid = "", port = "", id = ""] = lane.split("/");
  const queues = `v1/devices/${segment(dpid)}/queues`;
  const reading = usePoll(`queue ${lane}`, async (signal) => {
    const page = await get<Page<Queue>>(withQuery(queues, { port }), signal);
    return page.items.find((queue) => String(queue.queue_id) === id) ?? null;
  });
  const flows = usePoll(`flows of ${lane}`, (signal) =>
    get<Page<Assignment>>(withQuery("v1/assignments", { device: dpid, port, queue: id, sort: "-rate", limit: FLOWS }), signal),
  );
  const queue = reading.value;
  const gone = queue === null;
  const name = queue?.port ?? `port ${port}`;
  const admission = queue?.admission ?? "open";
  return (
    <Panel
      id={lane}
      closing={["lane"]}
      gone={gone}
      title={
        <>
          Queue {id} of <Name text={name} />
        </>
      }
    >
      <p class="dim">
        <Open view="devices" params={{ device: dpid }}>
          <Name text={deviceName(dpid)} />
        </Open>{" "}
        {queue && `${queue.kind === "physical" ? "hardware" : queue.kind} queue`}
        {queue?.exclusive && <Badge tone="good">exclusive</Badge>}
        {admission !== "open" && <Badge tone="warn">{admission}</Badge>}
      </p>
      {gone && <Note tone="warn">The port has no such queue now.</Note>}
      {reading.error !== null && <Trouble reading={reading} what="the queue" />}
      {queue && (
        <>
          <p class="big">
            {rate(queue.load)} <span class="dim">{queue.max_rate ? `of ${rate(queue.max_rate)}` : "(rate unknown)"}</span>
            {queue.max_rate !== null && (
              <Meter value={queue.load} of={queue.max_rate} label={`load ${Math.round((100 * queue.load) / queue.max_rate)} %`} />
            )}
          </p>
          <Facts
            of={[
              ["flows", count(queue.flows)],
              ["classes", queue.classes.length > 0 && queue.classes.map((one) => <ClassName key={one} name={one} />)],
              ["guaranteed", queue.min_rate !== null && rate(queue.min_rate)],
              ["mark", queue.mark],
              ["sent", queue.tx_bytes !== null && `${bytes(queue.tx_bytes)}, ${plural(queue.tx_packets ?? 0, "packet")}`],
              ["errors", queue.tx_errors ? count(queue.tx_errors) : ""],
            ]}
          />
          <QueueHistory queue={queue} />
          <Admission queue={queue} changed={reading.again} />
          <h3>Largest flows</h3>
          {flows.error !== null && <Trouble reading={flows} what="flows" />}
          {flows.value?.items.length === 0 && <p class="dim">No flow is on this queue.</p>}
          {flows.value !== undefined && flows.value.items.length > 0 && (
            <Table
              caption={`Largest flows on queue ${id} of ${visible(name)}`}
              head={
                <>
                  <th scope="col">Flow</th>
                  <th scope="col">VM</th>
                  <th scope="col">Class</th>
                  <th scope="col" class="n">
                    Rate
                  </th>
                </>
              }
            >
              {flows.value.items.map((item) => (
                <tr key={item.flow}>
                  <td>
                    <FlowLink flow={ofAssignment(item)} />
                  </td>
                  <td>{item.vm_name === null ? "–" : <Name text={item.vm_name} title={`id ${item.vm}`} />}</td>
                  <td>
                    <ClassName name={item.class} />
                  </td>
                  <td class="n">{rate(item.rate)}</td>
                </tr>
              ))}
            </Table>
          )}
          {queue.flows > FLOWS && (
            <p>
              <Open view="flows" params={{ device: dpid, port: String(queue.port_no), queue: id, sort: "-rate" }}>
                all {count(queue.flows)} flows of this queue
              </Open>
            </p>
          )}
        </>
      )}
    </Panel>
  );
}
