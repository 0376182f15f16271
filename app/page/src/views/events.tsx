/** Events as they happen. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { count, time, visible } from "../format";
import { EVENT_KINDS, type EventData } from "../rest";
import { changed, go, route } from "../route";
import { Badge, Name, Note, Open } from "../parts/basics";
import { clear, follow, isPaused, kept, missed, state, type Kept } from "../stream";

const SHOWN = 300;

export function Events(): JSX.Element {
  const { params } = route.value;
  const kinds = params.get("kind")?.split(",") ?? [...EVENT_KINDS];
  const [text, setText] = useState("");
  useEffect(follow, []);
  const wanted = text.trim().toLowerCase();
  const events = kept.value
    .filter(({ event }) => kinds.includes(event.kind) || event.kind === "lost")
    .filter(({ event }) => wanted === "" || `${event.text} ${JSON.stringify(event.data)}`.toLowerCase().includes(wanted));
  const toggle = (kind: string): void => {
    const next = EVENT_KINDS.filter((one) => (one === kind) !== kinds.includes(one));
    go(changed({ kind: next.length === EVENT_KINDS.length ? null : next.join(",") || "none" }), true);
  };
  return (
    <div id="view">
      <header class="title">
        <h1 tabIndex={-1}>Events</h1>
        <span role="status" class="dim">
          {isPaused.value ? `paused; ${count(missed.value)} more since` : state.value}
        </span>
        <button type="button" aria-pressed={isPaused.value} onClick={() => (isPaused.value = !isPaused.value)}>
          {isPaused.value ? "Go on" : "Pause"}
        </button>
        <button type="button" class="quiet" onClick={clear}>
          Clear
        </button>
      </header>
      <div class="search">
        <input
          id="search"
          type="search"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          aria-label="Show events with this text"
          placeholder="text of the event, a VM, a flow id"
          autocomplete="off"
          spellcheck={false}
        />
      </div>
      <fieldset class="kinds">
        <legend class="hidden">Kinds of event</legend>
        {EVENT_KINDS.map((kind) => (
          <label key={kind}>
            <input type="checkbox" checked={kinds.includes(kind)} onChange={() => toggle(kind)} /> {kind}
          </label>
        ))}
      </fieldset>
      {events.length === 0 && <Note>No event of these kinds yet. Events appear here as they happen.</Note>}
      <ol class="events" aria-label="Events, the latest first">
        {events.slice(0, SHOWN).map((one) => (
          <Event key={one.number} {...one} />
        ))}
      </ol>
      {events.length > SHOWN && <p class="dim">{count(events.length - SHOWN)} older ones are not shown.</p>}
    </div>
  );
}

function Event({ event }: Kept): JSX.Element {
  return (
    <li class={event.kind}>
      <time dateTime={event.time}>{time(event.time)}</time>
      <Badge tone={event.kind === "error" || event.kind === "lost" ? "bad" : "plain"}>{event.kind}</Badge>
      <span class="text">{visible(event.text)}</span>
      {event.why !== "" && <span class="dim">{visible(event.why)}</span>}
      <Links event={event} />
    </li>
  );
}

function Links({ event }: { event: EventData }): JSX.Element {
  const { flow, vm, vm_name, device, device_name } = event;
  return (
    <span class="links">
      {flow !== null && event.change !== "ended" && (
        <Open view="flows" params={{ flow }}>
          flow
        </Open>
      )}
      {vm !== null && (
        <Open view="vms" params={{ vm }}>
          <Name text={vm_name || vm} />
        </Open>
      )}
      {device !== null && (
        <Open view="devices" params={{ device }}>
          <Name text={device_name || device} />
        </Open>
      )}
    </span>
  );
}
