/** Requests to REST, with the token of this session; what is known of the connection. */

import { signal } from "@preact/signals";
import type { ProblemPlace } from "./rest";

const TOKEN = "flowlane.token";
const TIMEOUT = 20_000; // ms

/** The bearer token; kept for this tab only (sessionStorage). */
export const token = signal(sessionStorage.getItem(TOKEN) ?? "");

/** Why the controller asks for a token; empty: it does not. */
export const refused = signal("");

/** Since when the controller has not answered, and why; null: it answers. */
export const silence = signal<{ since: number; why: string } | null>(null);

/** When the controller answered last (ms of Unix time); 0: never. */
export const answered = signal(0);

/** An answer that is an error: a problem document (RFC 9457). */
export class RestError extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly field: string = "",
    readonly places: ProblemPlace[] = [],
  ) {
    super(detail);
  }
}

export function setToken(value: string): void {
  token.value = value;
  refused.value = "";
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

export interface Options {
  method?: string;
  body?: string;
  type?: string;
  accept?: string;
  ifMatch?: string | null;
  /** Id of the last event that was read. */
  lastEvent?: string;
  signal?: AbortSignal;
}

/** Sends a request; returns the answer, whatever its status. Streams are not timed. */
export async function send(path: string, options: Options = {}, timed = true): Promise<Response> {
  const headers: Record<string, string> = { Accept: options.accept ?? "application/json" };
  if (token.value) headers["Authorization"] = `Bearer ${token.value}`;
  if (options.type !== undefined) headers["Content-Type"] = options.type;
  if (options.lastEvent) headers["Last-Event-ID"] = options.lastEvent;
  if (options.ifMatch) headers["If-Match"] = options.ifMatch;
  const signals = [options.signal, timed ? AbortSignal.timeout(TIMEOUT) : undefined].filter((one) => one !== undefined);
  try {
    const answer = await fetch(path, {
      method: options.method ?? "GET",
      headers,
      ...(options.body !== undefined && { body: options.body }),
      ...(signals.length > 0 && { signal: any(signals) }),
      cache: "no-store",
      redirect: "error",
    });
    answered.value = Date.now();
    silence.value = null;
    return answer;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const why = error instanceof DOMException && error.name === "TimeoutError" ? "no answer in time" : "not reachable";
    silence.value ??= { since: Date.now(), why };
    throw new RestError(0, `the controller is ${why === "not reachable" ? why : "slow: no answer within 20 s"}`);
  }
}

/** The first of some signals (AbortSignal.any is younger than some browsers in use). */
function any(signals: AbortSignal[]): AbortSignal {
  const all = new AbortController();
  for (const one of signals) {
    if (one.aborted) all.abort(one.reason);
    else one.addEventListener("abort", () => all.abort(one.reason), { once: true });
  }
  return all.signal;
}

/** Raises the error of an answer that is one. */
export async function raise(answer: Response): Promise<void> {
  if (answer.ok) return;
  let problem: { detail?: string; title?: string; field?: string; errors?: ProblemPlace[] } = {};
  try {
    problem = await answer.json();
  } catch {
    // An answer of a proxy, say.
  }
  const detail = problem.detail ?? problem.title ?? `${answer.status} ${answer.statusText}`;
  if (answer.status === 401) refused.value = detail;
  throw new RestError(answer.status, detail, problem.field, problem.errors);
}

export interface Answer<Value> {
  value: Value;
  etag: string | null;
}

export async function request<Value>(path: string, options: Options = {}): Promise<Answer<Value>> {
  const answer = await send(path, options);
  await raise(answer);
  const value = answer.status === 204 ? undefined : await answer.json();
  return { value: value as Value, etag: answer.headers.get("ETag") };
}

export async function get<Value>(path: string, signal?: AbortSignal): Promise<Value> {
  return (await request<Value>(path, signal ? { signal } : {})).value;
}

/** A path with a query of those parameters that have a value. */
export function withQuery(path: string, query: Record<string, string | number | null | undefined>): string {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/** A segment of a path. */
export const segment = encodeURIComponent;
