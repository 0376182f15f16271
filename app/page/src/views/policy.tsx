/** The policy: viewed, edited, checked, and replaced after its differences were shown. */

import { diffLines } from "diff";
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { request, RestError } from "../client";
import { classNames } from "../classes";
import { count, plural, rate, time, visible } from "../format";
import { usePoll } from "../poll";
import type { Policy as PolicyInForce, PolicyChange, ProblemPlace } from "../rest";
import { Badge, ClassName, Name, Note, Table, Trouble } from "../parts/basics";
import { Outcome, useTask } from "../parts/task";

const DRAFT = "flowlane.policy-draft";
const YAML = "application/yaml";

/** What was checked: only that may replace the policy in force. */
interface Checked {
  text: string;
  etag: string | null;
  change: PolicyChange;
}

export function Policy(): JSX.Element {
  const reading = usePoll("policy", (signal) => request<PolicyInForce>("v1/policy", { signal }), 5000);
  const inForce = reading.value?.value;
  const [replaced, setReplaced] = useState(0);
  const [draft, setDraft] = useState(() => sessionStorage.getItem(DRAFT));
  const keep = (text: string | null): void => {
    setDraft(text);
    if (text === null) sessionStorage.removeItem(DRAFT);
    else sessionStorage.setItem(DRAFT, text);
  };
  return (
    <div id="view">
      <header class="title">
        <h1 tabIndex={-1}>Policy</h1>
        {inForce && (
          <span class="dim">
            {plural(inForce.classes.length, "class", "classes")}, {plural(inForce.rules.length, "rule")}, strategy{" "}
            {inForce.strategy}
          </span>
        )}
        {draft === null && inForce && (
          <button type="button" onClick={() => keep(inForce.text)}>
            Edit
          </button>
        )}
      </header>
      <div role="status">
        {replaced > 0 && draft === null && <Note tone="good">The policy was replaced at {time(replaced)}; all devices have it.</Note>}
      </div>
      <Trouble reading={reading} what="the policy" />
      {inForce &&
        (draft === null ? (
          <View policy={inForce} />
        ) : (
          <Editor
            base={inForce.text}
            etag={reading.value?.etag ?? null}
            text={draft}
            edit={keep}
            close={() => keep(null)}
            replaced={() => {
              keep(null);
              setReplaced(Date.now());
            }}
            again={reading.again}
          />
        ))}
    </div>
  );
}

function View({ policy }: { policy: PolicyInForce }): JSX.Element {
  const { origin } = policy;
  const from = {
    "built-in": "built in",
    file: `from the file ${visible(origin.file ?? "")}`,
    rest: `put over REST${origin.by === null ? "" : ` by ${visible(origin.by)}`}${origin.address === null ? "" : ` from ${visible(origin.address)}`}`,
  }[origin.source];
  return (
    <>
      <p class="dim">
        In force since {time(origin.time)}, {from ?? origin.source}; hash <code>{policy.hash.slice(0, 12)}</code>
        {origin.kept ? "; kept over a restart" : "; a restart ends it"}
      </p>
      <Table
        caption="Classes"
        head={["Class", "Priority", "Service", "Limit", "Guaranteed", "Exclusive", "Path"].map((title, place) => (
          <th key={title} scope="col" class={place === 1 || place === 3 || place === 4 ? "n" : ""}>
            {title}
          </th>
        ))}
      >
        {policy.classes.map((one) => (
          <tr key={one.name}>
            <td>
              <ClassName name={one.name} />
            </td>
            <td class="n">{one.priority}</td>
            <td>{one.qos || "–"}</td>
            <td class="n">{rate(one.rate_limit)}</td>
            <td class="n">{rate(one.min_rate)}</td>
            <td>{one.exclusive ? <Badge tone="good">exclusive</Badge> : "–"}</td>
            <td>{one.path}</td>
          </tr>
        ))}
      </Table>
      {policy.rules.length > 0 && (
        <p class="dim">
          Rules, the first that matches counts:{" "}
          {policy.rules.map((name, place) => (
            <span key={name}>
              {place > 0 && ", "}
              <Name text={name} />
            </span>
          ))}
        </p>
      )}
      <h2>Document</h2>
      <pre class="document" tabIndex={0} role="region" aria-label="The policy as YAML">
        {policy.text.split("\n").map(visible).join("\n")}
      </pre>
    </>
  );
}

function Editor({
  base,
  etag,
  text,
  edit,
  close,
  replaced,
  again,
}: {
  base: string;
  etag: string | null;
  text: string;
  edit: (text: string) => void;
  close: () => void;
  replaced: () => void;
  again: () => void;
}): JSX.Element {
  const task = useTask();
  const [checked, setChecked] = useState<Checked | null>(null);
  const current = checked !== null && checked.text === text && checked.etag === etag ? checked : null;
  const places = task.outcome?.error instanceof RestError ? task.outcome.error.places : [];
  const area = useRef<HTMLTextAreaElement>(null);
  const result = useRef<HTMLDivElement>(null);
  const check = async (): Promise<void> => {
    const done = await task.run(async () => {
      const { value } = await request<PolicyChange>("v1/policy/check", { method: "POST", body: text, type: YAML });
      setChecked({ text, etag, change: value });
    }, "The policy is valid; these are its differences from the one in force. Nothing was changed yet.");
    if (done) result.current?.scrollIntoView({ block: "nearest" });
  };
  const replace = async (): Promise<void> => {
    const done = await task.run(
      () => request<PolicyChange>("v1/policy", { method: "PUT", body: text, type: YAML, ifMatch: etag }),
      "",
    );
    again();
    if (done) replaced();
    else setChecked(null);
  };
  const leave = (): void => {
    if (text === base || confirm("Throw away the changes?")) close();
  };
  return (
    <div class="editor">
      <Lines text={text} marks={new Set(places.map((place) => place.line))} area={area} edit={edit} save={check} />
      <div class="buttons">
        <button type="button" class="main" disabled={task.busy} onClick={() => void check()}>
          Check
        </button>
        <button type="button" class="danger" disabled={task.busy || current === null || text === base} onClick={() => void replace()}>
          Replace the policy
        </button>
        <button type="button" class="quiet" onClick={leave}>
          Cancel
        </button>
        {current === null && text !== base && <span class="dim">Check it first: its differences are shown then.</span>}
        {text === base && <span class="dim">It is the policy in force.</span>}
      </div>
      <Outcome task={task} />
      {places.length > 0 && <Mistakes places={places} area={area} />}
      {current !== null && (
        <div ref={result}>
          <Change change={current.change} />
        </div>
      )}
      {text !== base && <Differences before={base} after={text} />}
    </div>
  );
}

/** A text area with line numbers; those of lines with a mistake are marked. */
function Lines({
  text,
  marks,
  area,
  edit,
  save,
}: {
  text: string;
  marks: Set<number>;
  area: { current: HTMLTextAreaElement | null };
  edit: (text: string) => void;
  save: () => void;
}): JSX.Element {
  const gutter = useRef<HTMLDivElement>(null);
  const lines = text.split("\n").length;
  return (
    <div class="code">
      <div class="gutter" ref={gutter} aria-hidden="true">
        {Array.from({ length: lines }, (_, place) => (
          <span key={place} class={marks.has(place + 1) ? "mistake" : ""}>
            {place + 1}
          </span>
        ))}
      </div>
      <textarea
        ref={area}
        value={text}
        aria-label="Policy as YAML"
        aria-invalid={marks.size > 0}
        spellcheck={false}
        autocomplete="off"
        wrap="off"
        rows={Math.min(40, Math.max(12, lines + 1))}
        onInput={(event) => edit(event.currentTarget.value)}
        onScroll={(event) => gutter.current?.scrollTo({ top: event.currentTarget.scrollTop })}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            save();
          }
        }}
      />
    </div>
  );
}

function Mistakes({
  places,
  area,
}: {
  places: ProblemPlace[];
  area: { current: HTMLTextAreaElement | null };
}): JSX.Element {
  const show = (place: ProblemPlace): void => {
    const field = area.current;
    if (field === null) return;
    const lines = field.value.split("\n");
    const start = lines.slice(0, place.line - 1).reduce((sum, line) => sum + line.length + 1, 0);
    field.focus();
    field.setSelectionRange(start, start + (lines[place.line - 1]?.length ?? 0));
  };
  return (
    <ul class="mistakes" aria-label="Mistakes">
      {places.map((place) => (
        <li key={`${place.line} ${place.column} ${place.path}`}>
          {place.line > 0 && (
            <button type="button" class="quiet" onClick={() => show(place)}>
              line {place.line}
            </button>
          )}{" "}
          <code>{visible(place.path)}</code>: {visible(place.detail)}
          {place.remedy !== "" && <span class="dim">; {visible(place.remedy)}</span>}
        </li>
      ))}
    </ul>
  );
}

const CHANGES = [
  ["classes_added", "class", "added"],
  ["classes_removed", "class", "removed"],
  ["classes_changed", "class", "changed"],
  ["rules_added", "rule", "added"],
  ["rules_removed", "rule", "removed"],
  ["rules_changed", "rule", "changed"],
  ["settings_changed", "setting", "changed"],
] as const;

function Change({ change }: { change: PolicyChange }): JSX.Element {
  const changes = CHANGES.flatMap(([key, what, how]) => change[key].map((name) => ({ what, how, name })));
  return (
    <section aria-label="Differences">
      <h2>What it changes</h2>
      {change.flows !== undefined && (
        <p>
          Of {plural(change.flows.total, "flow")} now present, <b>{count(change.flows.reclassified)}</b> get another class, and{" "}
          <b>{count(change.flows.moved)}</b> are on another queue after ten seconds.
        </p>
      )}
      {changes.length === 0 ? (
        <p class="dim">No class, rule or setting differs.</p>
      ) : (
        <ul class="changes">
          {changes.map(({ what, how, name }) => (
            <li key={`${what} ${how} ${name}`}>
              <Badge tone={how === "added" ? "good" : how === "removed" ? "bad" : "warn"}>{how}</Badge> {what}{" "}
              {what === "class" && classNames.value.includes(name) ? <ClassName name={name} /> : <Name text={name} />}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

/** Lines around a change that are shown with it. */
const AROUND = 2;

function Differences({ before, after }: { before: string; after: string }): JSX.Element {
  const lines = diffLines(before, after).flatMap((part) =>
    part.value
      .replace(/\n$/, "")
      .split("\n")
      .map((text) => ({ sign: part.added ? "+" : part.removed ? "-" : " ", text })),
  );
  const near = lines.map((_, place) => lines.slice(Math.max(0, place - AROUND), place + AROUND + 1).some((one) => one.sign !== " "));
  return (
    <section aria-label="Differences of the text">
      <h2>Differences of the text</h2>
      <pre class="diff" tabIndex={0} role="region" aria-label="Lines that differ">
        {lines.map((line, place) =>
          near[place] ? (
            <span key={place} class={line.sign === "+" ? "plus" : line.sign === "-" ? "minus" : ""}>
              {line.sign} {visible(line.text)}
              {"\n"}
            </span>
          ) : (
            near[place - 1] && <span class="dim">{"  …\n"}</span>
          ),
        )}
      </pre>
    </section>
  );
}

