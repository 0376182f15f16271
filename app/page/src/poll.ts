/** Reading something again and again while it is on the screen. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { refused, token } from "./client";

export const PERIOD = 2000; // ms between the end of a reading and the next one

export interface Reading<Value> {
  /** What was read last; undefined: nothing yet. */
  value: Value | undefined;
  /** Why the last reading failed; then `value` is what was read before. */
  error: Error | null;
  /** Ms of Unix time of `value`. */
  at: number;
  /** Reads again at once. */
  again: () => void;
}

interface Stored<Value> {
  key: string;
  value: Value | undefined;
  error: Error | null;
  at: number;
}

/**
 * Reads at once and then every period, not while the tab is hidden. `key` says what is read: when it changes, what
 * was read before does not count.
 */
export function usePoll<Value>(
  key: string,
  read: (signal: AbortSignal) => Promise<Value>,
  period: number = PERIOD,
): Reading<Value> {
  const [stored, store] = useState<Stored<Value>>({ key, value: undefined, error: null, at: 0 });
  const reader = useRef(read);
  reader.current = read;
  const wake = useRef<() => void>(() => undefined);
  const secret = token.value;
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    let busy = false;
    const turn = async (): Promise<void> => {
      clearTimeout(timer);
      if (busy || stop.signal.aborted) return;
      if (!document.hidden) {
        busy = true;
        try {
          const value = await reader.current(stop.signal);
          if (!stop.signal.aborted) store({ key, value, error: null, at: Date.now() });
        } catch (error) {
          if (!stop.signal.aborted)
            store((old) => ({ ...(old.key === key ? old : { value: undefined, at: 0 }), key, error: error as Error }));
        }
        busy = false;
      }
      if (!stop.signal.aborted && (refused.value === "" || secret !== "")) timer = window.setTimeout(turn, period);
    };
    wake.current = () => void turn();
    const shown = (): void => void (document.hidden || turn());
    document.addEventListener("visibilitychange", shown);
    void turn();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [key, period, secret]);
  const again = useCallback(() => wake.current(), []);
  return stored.key === key ? { ...stored, again } : { value: undefined, error: null, at: 0, again };
}
