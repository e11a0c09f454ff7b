// Owns: how much may be on its way from one process to one router.

/** Publishes and bytes without an answer at one router: a second of one at full speed; more is backpressure. */
export const UNANSWERED_MAX = 65_536;
export const UNANSWERED_BYTES_MAX = 16 * 1024 * 1024;
