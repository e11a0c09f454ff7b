// Owns: letting what is under way in this process come to rest, where time is held in the hand: promises that wait for no
// timer and no socket are done afterwards.

/** Turns of the event loop: each lets every promise that can go on do so. */
const TURNS = 4;

export async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
}
