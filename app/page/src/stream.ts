/** The stream of events, read by fetch, since an EventSource cannot send a token. */

import { effect, signal } from "@preact/signals";
import { createParser } from "eventsource-parser";
import { raise, RestError, send, token } from "./client";
import type { EventData } from "./rest";

const KEPT = 2000;
const AGAIN = 2000; // ms

/** Events from before the page was opened. */
const BEFORE = 200;

export interface Kept {
  number: number;
  event: EventData;
}

/** Events that came, the latest first; they stay when another view is shown. */
export const kept = signal<Kept[]>([]);
export const state = signal("connecting");
export const isPaused = signal(false);
/** Events that came while it is paused. */
export const missed = signal(0);

let last: string | null = null;
let number = 0;
let waiting: Kept[] = [];
let timer = 0;

export function clear(): void {
  kept.value = [];
  waiting = [];
  missed.value = 0;
}

/** Events come in bursts: they are shown a few times a second. */
function add(event: EventData): void {
  waiting.push({ number: ++number, event });
  if (isPaused.value) missed.value += 1;
  else timer ||= window.setTimeout(show, 200);
}

function show(): void {
  clearTimeout(timer);
  timer = 0;
  if (waiting.length === 0) return;
  kept.value = [...waiting.reverse(), ...kept.peek()].slice(0, KEPT);
  waiting = [];
  missed.value = 0;
}

// What came before a pause is shown at once, not in it.
effect(() => {
  void isPaused.value;
  show();
});

/** Follows the events until the returned function is called; then it goes on where it was, the next time. */
export function follow(): () => void {
  const stop = new AbortController();
  void (async () => {
    while (!stop.signal.aborted) {
      try {
        await read(stop.signal);
      } catch (error) {
        if (stop.signal.aborted) return;
        state.value = error instanceof RestError ? error.message : "the connection was lost";
        // A token that is asked for is waited for; so is a number that the controller does not take.
        if (error instanceof RestError && error.status === 400) last = null;
        if (error instanceof RestError && error.status === 401) await another(stop.signal);
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  })();
  return () => stop.abort();
}

function another(signal: AbortSignal): Promise<void> {
  const old = token.peek();
  return new Promise((resolve) => {
    const end = effect(() => {
      if (token.value !== old) queueMicrotask(() => (end(), resolve()));
    });
    signal.addEventListener("abort", () => (end(), resolve()), { once: true });
  });
}

async function read(signal: AbortSignal): Promise<void> {
  const headers = last === null ? {} : { lastEvent: last };
  // The first time with what has happened before; then from where it ended.
  const path = last === null ? `v1/events?last=${BEFORE}` : "v1/events";
  const answer = await send(path, { accept: "text/event-stream", signal, ...headers }, false);
  await raise(answer);
  if (answer.body === null) return;
  state.value = "live";
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      if (id !== undefined) last = id;
      const value = JSON.parse(data) as Partial<EventData>;
      add({
        id: id ?? "",
        time: value.time ?? new Date().toISOString(),
        kind: value.kind ?? event ?? "lost",
        change: value.change ?? "",
        text: value.text ?? "",
        why: value.why ?? "",
        flow: value.flow ?? null,
        vm: value.vm ?? null,
        vm_name: value.vm_name ?? null,
        device: value.device ?? null,
        device_name: value.device_name ?? null,
        data: value.data ?? {},
      });
    },
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parser.feed(value);
  }
  state.value = "the controller has ended the stream; connecting again";
}
