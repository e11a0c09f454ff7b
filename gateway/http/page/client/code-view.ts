// Owns: the snippets for the topic at hand, the choice of their language, and copying them.

import { announce, at } from "./dom.ts";
import { type Language, type SnippetFacts, snippetOf } from "./snippets.ts";

/** Milliseconds for which the button says that it copied. */
const COPIED_MS = 2_000;

export class CodeView {
  readonly #languages = at("languages", HTMLFieldSetElement);
  readonly #snippet = at("snippet", HTMLPreElement);
  readonly #copy = at("copy", HTMLButtonElement);
  #facts: SnippetFacts | undefined;
  #timer: number | undefined;

  constructor() {
    this.#languages.addEventListener("change", () => this.#write());
    this.#copy.addEventListener("click", () => void this.#copyIt());
  }

  show(facts: SnippetFacts): void {
    this.#facts = facts;
    this.#write();
  }

  #write(): void {
    const checked = this.#languages.querySelector<HTMLInputElement>("input:checked");
    if (this.#facts !== undefined && checked !== null) {
      this.#snippet.textContent = snippetOf(checked.value as Language, this.#facts);
    }
  }

  async #copyIt(): Promise<void> {
    const done = await copied(this.#snippet);
    const words = done ? "Copied" : "Press Ctrl+C";
    this.#copy.textContent = words;
    announce(done ? "Copied" : "The code is selected: copy it");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#copy.textContent = "Copy";
    }, COPIED_MS);
  }
}

/** Over plain HTTP from another machine browsers let no page write to the clipboard: then the text is selected. */
async function copied(element: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}
