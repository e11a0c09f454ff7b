// Owns: users who are gone and of whom nobody was told yet, because their gateway died or might only not be back yet.
// Whoever returns before is taken off the list: then neither `left` nor `joined` is told. Pure. Bounded by the users
// that the store ever held at once, since only a held user can be added.

interface Departure {
  readonly topicId: string;
  readonly userId: string;
  /** When it is told. */
  readonly dueAtMs: number;
  /** The user may still be held by a gateway that has not come back yet. */
  readonly resent: boolean;
}

export class Departures {
  readonly #waiting = new Map<string, Departure>();

  get size(): number {
    return this.#waiting.size;
  }

  add(departure: Departure): void {
    this.#waiting.set(userKey(departure.topicId, departure.userId), departure);
  }

  /** The user is back: takes their departure off, if it was still untold. */
  cancel(topicId: string, userId: string): Departure | undefined {
    const key = userKey(topicId, userId);
    const departure = this.#waiting.get(key);
    this.#waiting.delete(key);
    return departure;
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
