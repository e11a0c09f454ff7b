// Owns: users who are gone and of whom nobody was told yet, because their gateway died or might only not be back yet.
// Whoever returns before is taken off the list: then neither `left` nor `joined` is told. Pure. Bounded by the users
// that the store ever held at once, since only a held user can be added.

interface Departure {
  readonly topicId: string;
  readonly userId: string;
  readonly dueAtMs: number;
}

export class Departures {
  readonly #waiting = new Map<string, Departure>();

  get size(): number {
    return this.#waiting.size;
  }

  add(topicId: string, userId: string, dueAtMs: number): void {
    this.#waiting.set(userKey(topicId, userId), { topicId, userId, dueAtMs });
  }

  /** The user is back. Answers whether the departure was still untold. */
  cancel(topicId: string, userId: string): boolean {
    return this.#waiting.delete(userKey(topicId, userId));
  }

  /** Takes those whose time has come. */
  takeDue(nowMs: number): readonly Departure[] {
    const due: Departure[] = [];
    for (const [key, departure] of this.#waiting) {
      if (departure.dueAtMs > nowMs) continue;
      due.push(departure);
      this.#waiting.delete(key);
    }
    return due;
  }
}

/** A user in a topic. A topic id has no space. */
export function userKey(topicId: string, userId: string): string {
  return `${topicId} ${userId}`;
}
