/** Colours of the policy's classes: by their place in the policy; the first one, the default, is grey. */

import { computed, signal } from "@preact/signals";
import type { Status } from "./rest";

export const COLOURS = 8;

/** The controller's state as it was read last. */
export const status = signal<Status | null>(null);

const places = computed(() => new Map(status.value?.policy.classes.map((name, place) => [name, place])));

/** Names of the policy's classes. */
export const classNames = computed(() => status.value?.policy.classes ?? []);

/** The CSS class of a traffic class's colour: c0 to c8. */
export function colourOf(name: string): string {
  const place = places.value.get(name);
  return `c${place === undefined || place === 0 ? 0 : ((place - 1) % COLOURS) + 1}`;
}
