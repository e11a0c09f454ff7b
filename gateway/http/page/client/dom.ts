// Owns: reaching the page's elements, and making new ones. Invariant: whatever was heard becomes text, never markup.

/** An element of index.html. A missing one is a bug, seen at the first load. */
export function at<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`index.html has no ${type.name} #${id}`);
}

export function make(tag: string, text: string, className = ""): HTMLElement {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className !== "") element.className = className;
  return element;
}

/** Says something to whoever does not see the page. Used for what they asked for or must know, not for every message. */
export function announce(text: string): void {
  at("announce", HTMLElement).textContent = text;
}

/** Milliseconds, with a tenth where that says something. */
export function millisecondsText(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms).toLocaleString("en")} ms`;
}

export function secondsText(ms: number): string {
  return `${(ms / 1_000).toFixed(1)}\u00a0s`;
}
