// Owns: users who went with their gateways and of whom nobody was told yet. Whoever returns before is taken off the list:
// then neither `left` nor `joined` is told, unless somebody has read a list without them. Pure. Bounded by the users that
// the store held when their gateways died.

interface Departure {
  readonly topicId: string;
  readonly userId: string;
}

/** Users of one topic; `shown`: a list was read meanwhile, and they were not in it. */
interface Departed {
  readonly users: Set<string>;
  shown: boolean;
}

export class Departures {
  readonly #topics = new Map<string, Departed>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(topicId: string, userId: string): void {
    const departed = this.#topics.get(topicId) ?? { users: new Set(), shown: false };
    this.#topics.set(topicId, departed);
    if (departed.users.has(userId)) return;
    departed.users.add(userId);
    this.#size += 1;
  }

  /** A list of the topic is being read. */
  show(topicId: string): void {
    const departed = this.#topics.get(topicId);
    if (departed !== undefined) departed.shown = true;
  }

  /** The user is back. Answers whether nobody can have noticed. */
  cancel(topicId: string, userId: string): boolean {
    const departed = this.#topics.get(topicId);
    if (departed === undefined || !departed.users.delete(userId)) return false;
    this.#size -= 1;
    if (departed.users.size === 0) this.#topics.delete(topicId);
    return !departed.shown;
  }

  takeAll(): readonly Departure[] {
    const all = [...this.#topics].flatMap(([topicId, { users }]) => [...users].map((userId) => ({ topicId, userId })));
    this.#topics.clear();
    this.#size = 0;
    return all;
  }
}
