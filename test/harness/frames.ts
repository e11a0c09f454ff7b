// Owns: the frames that a test's client heard, and waiting for one of them.

import { until } from "./until.ts";

export interface Frame {
  readonly type: string;
  readonly [field: string]: unknown;
}

export class Frames {
  /** In the order in which they came. */
  readonly all: Frame[] = [];
  /** The same as they were written. */
  readonly texts: string[] = [];
  readonly #listeners = new Set<(frame: Frame) => void>();
  #keeps = true;

  add(text: string): void {
    const frame = JSON.parse(text) as Frame;
    if (this.#keeps) {
      this.texts.push(text);
      this.all.push(frame);
    }
    for (const listener of this.#listeners) listener(frame);
  }

  on(listener: (frame: Frame) => void): void {
    this.#listeners.add(listener);
  }

  /** Keeps none from now on: listeners count them, and hours of them would fill the memory. */
  forget(): void {
    this.#keeps = false;
    this.all.length = 0;
    this.texts.length = 0;
  }

  of(type: string): readonly Frame[] {
    return this.all.filter((frame) => frame.type === type);
  }

  /** The first frame that is as wanted, now or later. `wanted`: fields that must be equal, or a function. */
  async next(wanted: Partial<Frame> | ((frame: Frame) => boolean)): Promise<Frame> {
    const isWanted =
      typeof wanted === "function"
        ? wanted
        : (frame: Frame) => Object.entries(wanted).every(([field, value]) => frame[field] === value);
    let found: Frame | undefined;
    const what = typeof wanted === "function" ? "a frame comes" : `a frame ${JSON.stringify(wanted)} comes`;
    await until(() => {
      found = this.all.find(isWanted);
      return found !== undefined;
    }, what);
    if (found === undefined) throw new Error(what);
    return found;
  }
}
