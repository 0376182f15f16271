/** What is shown, in the address's fragment: `#/view?name=value`. So it survives a reload, and can be passed on. */

import { signal } from "@preact/signals";

export interface Route {
  view: string;
  params: URLSearchParams;
}

export const HOME = "lanes";

function parse(): Route {
  const [view = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: view || HOME, params: new URLSearchParams(query) };
}

export const route = signal<Route>(parse());

window.addEventListener("hashchange", () => (route.value = parse()));
window.addEventListener("popstate", () => (route.value = parse()));

type Changes = Record<string, string | null>;

/** The address of a view. */
export function link(view: string, params: Changes = {}): string {
  const given = Object.entries(params).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const text = new URLSearchParams(given).toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

/** The address of the present view with some parameters changed; null removes one. */
export function changed(changes: Changes): string {
  return link(route.value.view, { ...Object.fromEntries(route.value.params), ...changes });
}

/** Goes to an address. `quietly`: without an entry of its own in the browser's history. */
export function go(address: string, quietly = false): void {
  if (quietly) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  route.value = parse();
}
