// Owns: the names of keys in Redis. Pure. Invariant: what one script touches lives in one slot of a Cluster, by the hash
// tag in its keys: all of a topic, all of the leases, all of a holder's index. (No topic id and no prefix has braces.)

/** All that is kept of a topic's members, in the order in which scripts take it; `holder` is whose subscriptions the last one lists. */
export function topicKeys(prefix: string, topicId: string, holder: string): string[] {
  const at = `${prefix}:topic:{${topicId}}:`;
  return [`${at}users`, `${at}order`, `${at}entries`, `${at}meta`, `${at}holders`, `${at}held:${holder}`];
}

/** Leases, and what became of those that ran out. */
export function leaseKeys(prefix: string): string[] {
  const at = `${prefix}:{leases}:`;
  return [`${at}live`, `${at}dead`, `${at}meta`, `${at}look`, `${at}passes`];
}

/** Topics in which a holder has subscriptions. */
export function indexKey(prefix: string, holder: string): string {
  return `${prefix}:index:{${holder}}`;
}
