/** The page: what is the same in every view. */

import { render, type JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { status } from "./classes";
import { answered, get, refused, setToken, silence, token } from "./client";
import { duration, plural, time, visible } from "./format";
import { usePoll } from "./poll";
import type { Status } from "./rest";
import { link, route } from "./route";
import { THEMES, theme } from "./theme";
import { Field, Note } from "./parts/basics";
import { Devices } from "./views/devices";
import { Events } from "./views/events";
import { Flows } from "./views/flows";
import { Lanes } from "./views/lanes";
import { Policy } from "./views/policy";
import { Topology } from "./views/topology";
import { Vms } from "./views/vms";
import "./style.css";

const VIEWS: Record<string, [string, () => JSX.Element]> = {
  lanes: ["Lanes", Lanes],
  flows: ["Flows", Flows],
  vms: ["VMs", Vms],
  topology: ["Topology", Topology],
  devices: ["Devices", Devices],
  events: ["Events", Events],
  policy: ["Policy", Policy],
};

/** Parameters of each view that open the panel: without one of them the view has the whole width. */
const CHOICES: Record<string, string[]> = {
  lanes: ["lane", "flow"],
  flows: ["flow"],
  vms: ["vm"],
  topology: ["device"],
  devices: ["device"],
};
const NARROW = matchMedia("(max-width: 60rem)");

function App(): JSX.Element {
  const { view, params } = route.value;
  const [title, View] = VIEWS[view] ?? VIEWS["lanes"]!;
  const reading = usePoll("status", (signal) => get<Status>("v1/status", signal));
  if (reading.value !== undefined && status.peek() !== reading.value) queueMicrotask(() => (status.value = reading.value ?? null));
  const hasPanel = CHOICES[view]?.some((name) => params.get(name) !== null) ?? false;
  const [isNarrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const look = (): void => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", look);
    return () => NARROW.removeEventListener("change", look);
  }, []);
  useEffect(() => {
    document.title = `${title} – Flowlane`;
  }, [title]);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.key !== "/" || event.ctrlKey || event.metaKey || target.matches("input, textarea, select")) return;
      const search = document.getElementById("search");
      if (search !== null) event.preventDefault();
      search?.focus();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  useEffect(() => {
    const content = document.getElementById("view");
    if (content !== null) content.inert = hasPanel && isNarrow;
  });
  return (
    <>
      <a class="skip" href="#view" onClick={(event) => (event.preventDefault(), document.querySelector<HTMLElement>("#view h1")?.focus())}>
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href={link("lanes")}>
          <img src="./page/icon.svg" alt="" width="24" height="24" /> Flowlane
        </a>
        <nav aria-label="Views">
          {Object.entries(VIEWS).map(([name, [text]]) => (
            <a key={name} href={link(name)} aria-current={name === view ? "page" : undefined}>
              {text}
            </a>
          ))}
        </nav>
        <State />
        <Settings />
      </header>
      <Silence />
      {refused.value !== "" && <Token />}
      <main class={`${hasPanel ? "with-panel" : ""} ${silence.value !== null ? "stale" : ""}`}>
        <View key={view} />
      </main>
      <footer>
        Flowlane {status.value?.version} · <a href="./openapi.json">OpenAPI</a> · <a href="./metrics">metrics</a> ·{" "}
        <a href="./page/licences.txt">licences of this page</a>
      </footer>
    </>
  );
}

/** The controller's state in one line. */
function State(): JSX.Element {
  const now = status.value;
  if (now === null) return <span class="state dim">…</span>;
  const problems = now.checks.filter((check) => !check.ok).map((check) => check.problem);
  return (
    <span class="state">
      <span role="status">
        <i class={`dot ${silence.value !== null ? "off" : now.ready ? "good" : "bad"}`} aria-hidden="true" />
        {silence.value !== null ? "no answer" : now.ready ? "ready" : `not ready: ${visible(problems.join("; "))}`}
      </span>
      <span class="dim" title={`up for ${duration(now.uptime)}`}>
        {plural(now.flows, "flow")} · {plural(now.vms, "VM")} · {now.devices.connected} of {plural(now.devices.known, "device")}
      </span>
    </span>
  );
}

/** Says that the controller does not answer, and of when the figures are. */
function Silence(): JSX.Element {
  const [, tick] = useState(0);
  const quiet = silence.value;
  useEffect(() => {
    if (quiet === null) return;
    const timer = setInterval(() => tick((number) => number + 1), 1000);
    return () => clearInterval(timer);
  }, [quiet]);
  return (
    <div role="alert">
      {quiet !== null && (
        <Note tone="bad">
          The controller does not answer ({quiet.why}).{" "}
          {answered.value > 0 ? `What you see is of ${time(answered.value)}.` : "Nothing was read yet."} Trying again …
        </Note>
      )}
    </div>
  );
}

function Settings(): JSX.Element {
  return (
    <div class="settings">
      <label>
        <span class="hidden">Colours</span>
        <select
          value={theme.value}
          onChange={(event) => (theme.value = THEMES.find((one) => one === event.currentTarget.value) ?? "auto")}
          title="Colours"
        >
          {THEMES.map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
      </label>
      {token.value !== "" && (
        <button type="button" class="quiet" onClick={() => setToken("")} title="The token is forgotten">
          sign out
        </button>
      )}
    </div>
  );
}

/** Asks for the token that the controller wants. */
function Token(): JSX.Element {
  const [text, setText] = useState("");
  return (
    <form
      class="token"
      aria-label="Token"
      onSubmit={(event) => {
        event.preventDefault();
        setToken(text.trim());
      }}
    >
      <Note tone="warn" live>
        The controller asks for a token: {visible(refused.value)}
      </Note>
      <Field label="Token" hint="kept for this tab, until it is closed">
        <input
          type="password"
          value={text}
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
          required
        />
      </Field>
      <button type="submit" class="main">
        Use it
      </button>
    </form>
  );
}

const root = document.getElementById("page");
if (root !== null) {
  root.textContent = "";
  render(<App />, root);
}
