/** Names of devices by datapath id, for lists that have the id only. */

import { signal } from "@preact/signals";
import { get } from "./client";
import type { Topology } from "./rest";

const names = signal<ReadonlyMap<string, string>>(new Map());

/** The name of a device; its datapath id while it is not known. */
export const deviceName = (dpid: string): string => names.value.get(dpid) || dpid;

export function remember(devices: { dpid: string; name: string }[]): void {
  if (devices.every((device) => names.peek().get(device.dpid) === device.name)) return;
  names.value = new Map([...names.peek(), ...devices.map((device) => [device.dpid, device.name] as const)]);
}

/** Reads the names of all devices; of thousands too, in one answer. */
export async function readNames(signal?: AbortSignal): Promise<Topology> {
  const topology = await get<Topology>("v1/topology", signal);
  remember(topology.devices);
  return topology;
}
