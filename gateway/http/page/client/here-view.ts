// Owns: showing who is here: users with what their tokens say of them, or a number where the Topic keeps no more.

import { at, make } from "./dom.ts";
import { countedHere, type Here } from "./members.ts";

/** Users listed: beyond it their number says more. */
const LISTED_MAX = 100;

export class HereView {
  readonly #count = at("here-count", HTMLElement);
  readonly #note = at("here-note", HTMLElement);
  readonly #list = at("here", HTMLUListElement);

  show(here: Here, ownId: string): void {
    this.#count.textContent = countedHere(here);
    this.#note.textContent = noteOf(here);
    this.#note.hidden = this.#note.textContent === "";
    const listed = [...here.members].slice(0, LISTED_MAX);
    this.#list.replaceChildren(...listed.map(([userId, info]) => memberRow(userId, info, ownId)));
    const others = (here.count ?? listed.length) - listed.length;
    if (others > 0) this.#list.append(make("li", `and ${others.toLocaleString("en")} more`));
  }
}

function memberRow(userId: string, info: unknown, ownId: string): HTMLElement {
  const row = make("li", userId);
  if (userId === ownId) row.append(" ", make("small", "(you)"));
  if (info !== undefined) row.append(" ", make("small", JSON.stringify(info)));
  return row;
}

function noteOf({ count, connections, stale }: Here): string {
  if (stale) return "As of a moment ago: the presence store does not answer now.";
  if (count === undefined && connections !== undefined) return "This Topic keeps a count and no names.";
  return "";
}
