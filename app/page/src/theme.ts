/** Dark or light: as the system has it, or as it was chosen here. */

import { effect, signal } from "@preact/signals";

const KEY = "flowlane.theme";
export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

function stored(): Theme {
  const value = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === value) ?? "auto";
}

export const theme = signal<Theme>(stored());
const system = matchMedia("(prefers-color-scheme: dark)");

/** Counts changes of colours, for what draws on a canvas. */
export const repaint = signal(0);

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem(KEY, theme.value);
  repaint.value = repaint.peek() + 1;
});
system.addEventListener("change", () => (repaint.value += 1));
