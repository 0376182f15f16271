/** Small pieces that every view uses. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { RestError, silence } from "../client";
import { colourOf } from "../classes";
import { time, visible } from "../format";
import type { Reading } from "../poll";
import { changed, go, link } from "../route";

/** A name that others chose: never markup, nor a part of the sentence around it. */
export function Name({ text, title }: { text: string; title?: string }): JSX.Element {
  const shown = visible(text);
  return (
    <bdi class="name" title={title ?? shown}>
      {shown || "(no name)"}
    </bdi>
  );
}

/** A class of the policy with its colour. */
export function ClassName({ name }: { name: string | null }): JSX.Element {
  if (name === null) return <span class="dim">several classes</span>;
  return (
    <span class="class">
      <i class={`swatch ${colourOf(name)}`} aria-hidden="true" />
      <Name text={name} />
    </span>
  );
}

export type Tone = "good" | "bad" | "warn" | "plain";

export function Badge({ tone = "plain", children }: { tone?: Tone; children: ComponentChildren }): JSX.Element {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** A message; `live`: it is spoken when it comes. */
export function Note({
  tone = "plain",
  live = false,
  children,
}: {
  tone?: Tone;
  live?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <div class={`note ${tone}`} {...(live && { role: tone === "bad" ? "alert" : "status" })}>
      {children}
    </div>
  );
}

/** What is wrong with a reading, when something is: nothing there (404), or not read now. */
export function Trouble({ reading, what }: { reading: Reading<unknown>; what: string }): JSX.Element | null {
  const { error, value, at } = reading;
  if (error === null) return value === undefined ? <p class="dim loading">Reading {what} …</p> : null;
  // That the controller does not answer is said once, at the top.
  if (silence.value !== null && value !== undefined) return null;
  // So is that it asks for a token.
  if (error instanceof RestError && error.status === 401) return null;
  return (
    <Note tone="bad" live>
      {visible(error.message)}
      {value !== undefined && `; this is of ${time(at)}`}
    </Note>
  );
}

export const isGone = (error: Error | null): boolean => error instanceof RestError && error.status === 404;

/** Definitions: a name and a value a line; those without a value are left out. */
export function Facts({ of }: { of: [string, ComponentChildren][] }): JSX.Element {
  return (
    <dl class="facts">
      {of
        .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A table that scrolls by itself when it is wider than the page. */
export function Table({
  caption,
  head,
  children,
  busy = false,
  class: kind = "",
}: {
  caption: string;
  head: ComponentChildren;
  children: ComponentChildren;
  busy?: boolean;
  class?: string;
}): JSX.Element {
  return (
    <div class="scroll" role="region" aria-label={caption} tabIndex={0}>
      <table class={kind} aria-busy={busy}>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>{head}</tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** Horizontal share of a capacity. */
export function Meter({ value, of, label }: { value: number; of: number | null; label: string }): JSX.Element {
  const share = of ? Math.min(1, value / of) : 0;
  return (
    <span class={`meter ${of !== null && value > of ? "over" : ""}`} role="img" aria-label={label} title={label}>
      <i style={{ width: `${100 * share}%` }} />
    </span>
  );
}

/** What opened the panel, so that the focus goes back there. */
let opener: HTMLElement | null = null;

/** A link that opens something in the panel. */
export function Open({
  params,
  view,
  class: kind,
  current,
  label,
  children,
}: {
  params: Record<string, string | null>;
  view?: string;
  class?: string;
  current?: boolean;
  label?: string;
  children: ComponentChildren;
}): JSX.Element {
  const address = view === undefined ? changed(params) : link(view, params);
  return (
    <a
      href={address}
      class={kind}
      aria-label={label}
      aria-current={current ? "true" : undefined}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        opener = event.currentTarget;
        fresh = true;
        go(address);
      }}
    >
      {children}
    </a>
  );
}

/** Whether the panel was opened by hand and gets the focus; not after a reload. */
let fresh = false;

/** The panel beside the view: what was chosen. `closing` are the parameters that are taken away. */
export function Panel({
  id,
  title,
  closing,
  gone = false,
  children,
}: {
  id: string;
  title: ComponentChildren;
  closing: string[];
  gone?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (fresh) heading.current?.focus();
    fresh = false;
  }, [id]);
  const close = (): void => {
    const back = opener;
    go(changed(Object.fromEntries(closing.map((name) => [name, null]))));
    requestAnimationFrame(() => (back?.isConnected ? back : document.querySelector<HTMLElement>("#view h1"))?.focus());
  };
  return (
    <aside
      class={`panel ${gone ? "gone" : ""}`}
      aria-labelledby="panel-title"
      onKeyDown={(event) => {
        if (event.key === "Escape" && !event.defaultPrevented) close();
      }}
    >
      <header>
        <h2 id="panel-title" ref={heading} tabIndex={-1}>
          {title}
        </h2>
        <button type="button" class="quiet" onClick={close} aria-label="Close" title="Close (Esc)">
          ✕
        </button>
      </header>
      {children}
    </aside>
  );
}

/** A labelled input. */
export function Field({
  label,
  children,
  hint,
}: {
  label: string;
  children: ComponentChildren;
  hint?: string;
}): JSX.Element {
  return (
    <label class="field">
      <span>{label}</span>
      {children}
      {hint !== undefined && <small>{hint}</small>}
    </label>
  );
}
