/** Changes that the operator asks for: one at a time, with what came of it. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { RestError } from "../client";
import { visible } from "../format";
import { Note } from "./basics";

export interface Task {
  busy: boolean;
  /** What came of the last one. */
  outcome: { ok: boolean; text: string; error: Error | null } | null;
  /** Runs it; `done` is said when it succeeds. Returns whether it did. */
  run: (work: () => Promise<unknown>, done: string) => Promise<boolean>;
  clear: () => void;
}

export function useTask(): Task {
  const [busy, setBusy] = useState(false);
  const [outcome, setOutcome] = useState<Task["outcome"]>(null);
  const run: Task["run"] = async (work, done) => {
    setBusy(true);
    try {
      await work();
      setOutcome({ ok: true, text: done, error: null });
      return true;
    } catch (caught) {
      const error = caught as Error;
      const allowed = error instanceof RestError && error.status === 403 ? "not allowed: " : "";
      setOutcome({ ok: false, text: allowed + error.message, error });
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, outcome, run, clear: () => setOutcome(null) };
}

export function Outcome({ task }: { task: Task }): JSX.Element {
  return (
    <div aria-live="polite">
      {task.outcome !== null && <Note tone={task.outcome.ok ? "good" : "bad"}>{visible(task.outcome.text)}</Note>}
    </div>
  );
}
