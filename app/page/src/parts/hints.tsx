/** The hints of a VM: shown, given and taken back. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { get, request, segment } from "../client";
import { duration, visible } from "../format";
import { usePoll } from "../poll";
import type { Hint, Vm } from "../rest";
import { ClassName, Field, Note, Trouble } from "./basics";
import { Outcome, useTask } from "./task";

type Match = Record<string, unknown>;

export function Hints({ vm, classes, changed }: { vm: Vm; classes: string[]; changed: () => void }): JSX.Element {
  const path = `v1/vms/${segment(vm.id)}/hints`;
  const reading = usePoll(`hints ${vm.id}`, (signal) => get<{ hints: Hint[] }>(path, signal));
  const task = useTask();
  const take = async (hint: Hint): Promise<void> => {
    await task.run(() => request(`${path}/${segment(hint.name ?? "")}`, { method: "DELETE" }), "The hint was taken back.");
    reading.again();
    changed();
  };
  const give = async (hint: Sent): Promise<boolean> => {
    const name = `page-${Date.now().toString(36)}`;
    const done = await task.run(
      () => request(`${path}/${name}`, { method: "PUT", type: "application/json", body: JSON.stringify(hint) }),
      `The hint for ${hint.class} was given.`,
    );
    reading.again();
    changed();
    return done;
  };
  return (
    <section aria-label="Hints">
      <h3>Hints</h3>
      {reading.error !== null && <Trouble reading={reading} what="hints" />}
      {reading.value?.hints.length === 0 && <p class="dim">No hint was given for its flows.</p>}
      <ul class="hints">
        {reading.value?.hints.map((hint) => (
          <li key={hint.id}>
            <ClassName name={hint.class} /> <span>{describe(hint.match)}</span>{" "}
            <span class="dim">
              from {hint.source === "rest" ? "REST" : hint.source.toUpperCase()}
              {hint.expires !== null && `, ends in ${duration((Date.parse(hint.expires) - Date.now()) / 1000)}`}
            </span>
            {hint.source === "rest" && (
              <button
                type="button"
                class="quiet"
                disabled={task.busy}
                onClick={() => void take(hint)}
                aria-label={`Take back the hint for ${visible(hint.class)}, ${describe(hint.match)}`}
              >
                take back
              </button>
            )}
          </li>
        ))}
      </ul>
      <Outcome task={task} />
      <Give classes={classes} busy={task.busy} give={give} />
    </section>
  );
}

interface Sent {
  class: string;
  match?: Match;
  lifetime?: number;
}

function describe(match: Match): string {
  const parts = Object.entries(match).map(([name, value]) => `${name} ${JSON.stringify(value).replaceAll('"', "")}`);
  return parts.length === 0 ? "for all its flows" : `for ${visible(parts.join(", "))}`;
}

function Give({
  classes,
  busy,
  give,
}: {
  classes: string[];
  busy: boolean;
  give: (hint: Sent) => Promise<boolean>;
}): JSX.Element {
  const [name, setName] = useState("");
  const [fields, setFields] = useState<Record<string, string>>({});
  const [lifetime, setLifetime] = useState("600");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const match = Object.fromEntries(
      Object.entries(fields)
        .filter(([, value]) => value.trim() !== "")
        .map(([key, value]) => [key, /^\d+$/.test(value.trim()) ? Number(value) : value.trim()]),
    );
    const chosen = name || (classes[0] ?? "");
    const done = await give({
      class: chosen,
      ...(Object.keys(match).length > 0 && { match }),
      ...(lifetime.trim() !== "" && { lifetime: Number(lifetime) }),
    });
    if (done) setFields({});
  };
  const field = (key: string, label: string, placeholder: string): JSX.Element => (
    <Field label={label}>
      <input
        value={fields[key] ?? ""}
        placeholder={placeholder}
        onInput={(event) => setFields({ ...fields, [key]: event.currentTarget.value })}
        autocomplete="off"
        spellcheck={false}
      />
    </Field>
  );
  return (
    <details class="give">
      <summary>Give a hint</summary>
      <form onSubmit={(event) => void submit(event)}>
        <Field label="Class">
          <select value={name} onChange={(event) => setName(event.currentTarget.value)}>
            {classes.map((one) => (
              <option key={one} value={one}>
                {visible(one)}
              </option>
            ))}
          </select>
        </Field>
        {field("protocol", "Protocol", "any")}
        {field("dst", "Destination", "any")}
        {field("dst-port", "Destination port", "any")}
        {field("src-port", "Source port", "any")}
        <Field label="Lifetime in seconds" hint="empty: until it is taken back">
          <input type="number" min="1" step="any" value={lifetime} onInput={(event) => setLifetime(event.currentTarget.value)} />
        </Field>
        <button type="submit" class="main" disabled={busy}>
          Give the hint
        </button>
      </form>
      <Note>
        A hint counts where the policy trusts it (<code>trust</code>); the flow's explanation says whether it did.
      </Note>
    </details>
  );
}
