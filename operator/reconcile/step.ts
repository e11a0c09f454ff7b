// Owns: the next safe step of one shard from its list towards its target: make before break. Pure; part of plan.ts.
// Invariant: a router becomes primary only when every gateway has acked an epoch in which it was already in this shard's
// list, or when no live router is left that was. Adding is never refused.

export interface ShardView {
  /** The list in force, `[primary, standby]`, by incarnation. */
  readonly current: readonly string[];
  /** Where it shall get. */
  readonly target: readonly string[];
  readonly isAlive: (incarnation: string) => boolean;
  /** Every gateway has its interest of this shard at this router. */
  readonly isWarm: (incarnation: string) => boolean;
  /** Stays in the map though it looks dead. */
  readonly isKept: (incarnation: string) => boolean;
}

export function nextOwners(view: ShardView): readonly string[] {
  const { current, isAlive } = view;
  const [wanted] = view.target;
  // Nobody there to take it: what is listed may yet come back.
  if (wanted === undefined) return current;
  const [primary] = current;
  if (wanted === primary) return arrived(view, wanted);
  if (primary === undefined || !isAlive(primary)) {
    const next = current.find((incarnation) => isAlive(incarnation));
    // A live standby leads until the wanted one is warm.
    if (next === undefined || next === wanted) return arrived(view, wanted);
    return [next, wanted];
  }
  return current.includes(wanted) && view.isWarm(wanted) ? arrived(view, wanted) : [primary, wanted];
}

function arrived(view: ShardView, primary: string): readonly string[] {
  const { current, target, isKept } = view;
  const standby = target[1] ?? current.find((incarnation) => incarnation !== primary && isKept(incarnation));
  return standby === undefined ? [primary] : [primary, standby];
}
