/** Values as text. */

import type { Endpoints } from "./rest";

const UNITS: [number, string][] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three digits and a unit: 95.3 Mbit/s. */
export function rate(bits: number | null | undefined, unit = "bit/s"): string {
  if (bits === null || bits === undefined) return "–";
  for (const [size, name] of UNITS) {
    if (bits >= size * 0.9995) return `${Number((bits / size).toPrecision(3))} ${name}${unit}`;
  }
  return `${Math.round(bits)} ${unit}`;
}

export const bytes = (count: number | null): string => rate(count, "B");

export const count = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : value.toLocaleString("en").replaceAll(",", " ");

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

const SHORT: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Characters that are not seen, or that change the order of others, as escapes: those that the command line writes. */
export function visible(text: string): string {
  return text.replace(/[\p{C}\p{Z}]/gu, (char) => {
    if (char === " ") return char;
    const hex = (char.codePointAt(0) ?? 0).toString(16);
    if (hex.length > 4) return `\\U${hex.padStart(8, "0")}`;
    return SHORT[char] ?? (hex.length > 2 ? `\\u${hex.padStart(4, "0")}` : `\\x${hex.padStart(2, "0")}`);
  });
}

function end(host: string, port: number | null, protocol: string): string {
  if (port === null || protocol.startsWith("icmp")) return host;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** `tcp 10.0.0.1:1234 → 10.0.0.2:80`. */
export function flowName(flow: Endpoints): string {
  const { protocol, src, dst } = flow;
  const kind = protocol.startsWith("icmp") ? ` type ${flow.src_port} code ${flow.dst_port}` : "";
  return `${protocol}${kind} ${end(src, flow.src_port, protocol)} → ${end(dst, flow.dst_port, protocol)}`;
}

/** Time of day; with the date when it is another day. */
export function time(moment: string | number | null): string {
  if (moment === null) return "–";
  const date = new Date(moment);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString("sv")} `;
  return day + date.toLocaleTimeString("sv");
}

/** A duration in its two largest units: 3 min 20 s. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([value]) => value > 0).map((part) => part.join(" ")).join(" ");
}

export const since = (moment: string | null): string =>
  moment === null ? "–" : duration((Date.now() - Date.parse(moment)) / 1000);

/** A word of REST as prose: overflow-to-software. */
export const words = (text: string): string => text.replaceAll("-", " ");
