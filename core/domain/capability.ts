// Owns: the patterns that a token's `earshot.publish|subscribe|manage` may hold, and what they match.
// A pattern is a topic id, or the beginning of one followed by `*`, or `*` alone. A `*` anywhere else is refused when
// the token is read, never silently taken as a letter.

const PATTERN = /^[A-Za-z0-9\-_.~:]*\*?$/;

/** Longest pattern: a whole topic id with its channel, and the star. */
const PATTERN_LENGTH_MAX = 400;

/** Patterns of one kind in one token; more belongs into the Topics' own lists. */
export const PATTERNS_MAX = 128;

/** Whether a string may stand in a capability list. */
export function isPattern(value: string): boolean {
  return value.length > 0 && value.length <= PATTERN_LENGTH_MAX && PATTERN.test(value);
}

/** Whether a pattern covers a topic id. `shop.*` covers `shop.chat` and `shop.chat:42`; `shop.chat` covers itself alone. */
export function matches(pattern: string, topicId: string): boolean {
  return pattern.endsWith("*") ? topicId.startsWith(pattern.slice(0, -1)) : pattern === topicId;
}

/** Whether any pattern of a list covers a topic id. */
export function anyMatches(patterns: readonly string[], topicId: string): boolean {
  for (const pattern of patterns) if (matches(pattern, topicId)) return true;
  return false;
}
