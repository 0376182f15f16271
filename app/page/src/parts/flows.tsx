/** A row of a flow, as lists of flows and of assignments give it. */

import type { JSX } from "preact";
import { flowName } from "../format";
import type { Assignment, Endpoints, Flow, Placement } from "../rest";
import { Name, Open } from "./basics";

export interface Row extends Endpoints {
  id: string;
  class: string;
  rate: number;
  passed_rate: number;
  places: Placement[];
  flow: Flow | null;
}

export const ofFlow = (flow: Flow): Row => ({ ...flow, places: flow.assignments, flow });

export const ofAssignment = (item: Assignment): Row => ({ ...item, id: item.flow, places: [item], flow: null });

export function FlowLink({ flow, current }: { flow: Row; current?: boolean }): JSX.Element {
  return (
    <Open params={{ flow: flow.id }} class="flow" current={current ?? false}>
      <Name text={flowName(flow)} />
      {flow.vlan !== null && <span class="dim"> VLAN {flow.vlan}</span>}
    </Open>
  );
}

/** Port and queue of a placement. */
export function Place({ place, device }: { place: Placement; device?: string | undefined }): JSX.Element {
  return (
    <span class="place">
      {device !== undefined && (
        <>
          <Name text={device} /> ›{" "}
        </>
      )}
      <Name text={place.port || "no port"} /> ›{" "}
      {place.queue_id === null ? (
        <span class="dim">no queue</span>
      ) : (
        <span class={`queue ${place.kind}`}>
          {place.kind === "software" ? "software " : ""}queue {place.queue_id}
        </span>
      )}
    </span>
  );
}
