/** The JSON objects of REST, as far as the page uses them; /openapi.json has them all. Rates are bit/s. */

export interface Page<Item> {
  items: Item[];
  next: string | null;
}

export type Kind = "physical" | "software" | "none";

export interface Check {
  name: string;
  ok: boolean;
  problem: string;
}

export interface Status {
  version: string;
  started: string;
  uptime: number;
  ready: boolean;
  checks: Check[];
  devices: { known: number; connected: number };
  databases: { known: number; synchronized: number };
  vms: number;
  flows: number;
  assignments: Record<Kind, number>;
  policy: { classes: string[]; rules: string[]; strategy: string };
}

export interface Port {
  port_no: number;
  name: string;
  role: string;
  role_reason: string;
  up: boolean | null;
  bond: { name: string; mode: string; members: number[] } | null;
  vlan: { mode: string; tag: number | null; trunks: number[] } | null;
  queues: number[];
  rate: number | null;
}

export interface Device {
  dpid: string;
  name: string;
  role: string;
  role_source: string;
  connected: boolean;
  declared: boolean;
  since: string | null;
  peer: string;
  version: string;
  forwarding: string;
  queues_by: string;
  capabilities: { max_meters: number; description: string };
  ports: Port[];
  ambiguous: { ports: string[]; role: string; why: string }[];
  flows: number;
  pinned: number;
  pin_budget: number;
  copies_dropped: number | null;
  meters: number;
  queues: Record<"physical" | "software", { total: number; free: number }>;
  left_out: { what: string; why: string; remedy: string }[];
  refusals: Record<string, number>;
  unusable: string | null;
  conflicts: string[];
  vms_in_conflict: string[];
}

export interface Queue {
  device: string;
  port: string;
  port_no: number;
  queue_id: number;
  kind: Kind;
  mark: number | null;
  min_rate: number | null;
  max_rate: number | null;
  flows: number;
  load: number;
  exclusive: boolean;
  class: string | null;
  classes: string[];
  admission: "open" | "cordoned" | "draining" | "drained";
  cordoned_since: string | null;
  cordoned_flows: number | null;
  tx_packets: number | null;
  tx_bytes: number | null;
  tx_errors: number | null;
}

export interface Endpoints {
  family: string;
  protocol: string;
  src: string;
  dst: string;
  src_port: number | null;
  dst_port: number | null;
  vlan: number | null;
  vm: string | null;
  vm_name: string | null;
}

export interface Placement {
  device: string;
  port: string;
  port_no: number;
  queue_id: number | null;
  kind: Kind;
  meter: { id: number; rate: number; burst: number } | null;
  reason: string;
  since: string;
  pinned: boolean;
  manual_pin: { queue_id: number; since: string; expires: string; in_force: boolean } | null;
  entry: string;
}

export interface Flow extends Endpoints {
  id: string;
  class: string;
  rate: number;
  passed_rate: number;
  limit: number | null;
  priority: number;
  hint: { source: string; class: string } | null;
  dscp: number;
  pcp: number;
  packets: number;
  bytes: number;
  first_seen: string;
  last_active: string;
  assignments: Placement[];
}

export interface Assignment extends Placement, Endpoints {
  flow: string;
  class: string;
  rate: number;
  passed_rate: number;
}

export interface Hop {
  device: string | null;
  device_name: string;
  in_port: string | null;
  out_port: string | null;
  queue_id: number | null;
  assigned: boolean;
  note: string;
}

export interface DeviceExplanation {
  device: string;
  device_name: string;
  class: string;
  rule: string;
  rules_before: { rule: string; unmet: string[] }[];
  hint: string;
  port: string;
  queue_id: number | null;
  kind: Kind;
  reason: string;
  since: string;
  considered: { queue_id: number; kind: Kind; load: number; flows: number; why: string }[];
  not_hardware: string;
  meter: string;
  entry: string;
  would_change: string[];
  came_from: { device_name: string; port: string; queue_id: number | null; at: string; why: string } | null;
  other_paths: { vm: string; device_name: string; port: string; up: boolean; note: string }[];
}

export interface Explanation {
  flow: string;
  way: Hop[];
  devices: DeviceExplanation[];
}

export interface QueueHistory {
  port: string;
  port_no: number;
  queue_id: number;
  load: number[];
  peak: number[];
  flows: number[];
  moves_in: number[];
  moves_out: number[];
}

export interface Histories {
  step: number;
  times: string[];
  items: QueueHistory[];
}

export interface Hint {
  id: string;
  name: string | null;
  vm: string;
  match: Record<string, unknown>;
  class: string;
  source: string;
  expires: string | null;
}

export interface Vm {
  id: string;
  name: string;
  device: string;
  port: string;
  port_no: number;
  macs: string[];
  other_macs: string[];
  source: string;
  external_ids: Record<string, string>;
  vm_uuid: string | null;
  nics: string[];
  paths: { vm: string; device: string; port: string; role: string; up: boolean; flows: number }[];
  claims: { device: string; port: string; state: string; sign: string; since: string; seen: string | null }[];
  conflicts: { what: string; key: string; others: string[]; holder: string }[];
  flows: number;
  hints: number;
}

export interface LinkEnd {
  device: string;
  device_name: string;
  port: string;
  port_no: number;
}

export interface Link {
  ends: LinkEnd[];
  kind: string;
  state: string;
  since: string | null;
  one_way: boolean;
}

export interface TopologyDevice {
  dpid: string;
  name: string;
  role: string | null;
  connected: boolean;
  declared: boolean;
  host: string | null;
  vms: string[];
}

export interface Topology {
  devices: TopologyDevice[];
  links: Link[];
  hosts: { id: string; name: string; devices: string[]; device_names: string[]; vms: string[] }[];
  unknown: (LinkEnd & { addresses: number; remote: string | null })[];
  loops: { ports: LinkEnd[]; without_spanning_tree: string[] }[];
  expected: { source: string; deviations: { kind: string; text: string }[] } | null;
}

export interface PolicyClass {
  name: string;
  priority: number;
  qos: string;
  rate_limit: number | null;
  min_rate: number | null;
  exclusive: boolean;
  path: string;
}

export interface Policy {
  text: string;
  hash: string;
  origin: { source: string; time: string; by: string | null; address: string | null; file: string | null; kept: boolean };
  classes: PolicyClass[];
  rules: string[];
  strategy: string;
}

export interface PolicyChange {
  applied: boolean;
  classes_added: string[];
  classes_removed: string[];
  classes_changed: string[];
  rules_added: string[];
  rules_removed: string[];
  rules_changed: string[];
  settings_changed: string[];
  kept?: boolean;
  flows?: { total: number; reclassified: number; moved: number };
}

export interface ProblemPlace {
  line: number;
  column: number;
  path: string;
  detail: string;
  remedy: string;
}

export interface EventData {
  id: string;
  time: string;
  kind: string;
  change: string;
  text: string;
  why: string;
  flow: string | null;
  vm: string | null;
  vm_name: string | null;
  device: string | null;
  device_name: string | null;
  data: Record<string, unknown>;
}

export const EVENT_KINDS = [
  "flow", "assignment", "move", "device", "vm", "queue", "policy", "hint", "link", "error",
] as const;
