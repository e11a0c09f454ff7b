// Owns: how long work holds the event loop, in processor time: a machine that is busy with others does not count.

/** Milliseconds of processor time that work of ours may take between two turns of the event loop. */
export const STALL_MS = 50;

/** Runs work and answers the most processor time that passed between two turns of the event loop meanwhile. */
export async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let isRunning = true;
  let before = process.threadCpuUsage();
  const look = (): void => {
    const { user, system } = process.threadCpuUsage(before);
    longest = Math.max(longest, (user + system) / 1_000);
    before = process.threadCpuUsage();
    if (isRunning) setImmediate(look);
  };
  setImmediate(look);
  await work();
  isRunning = false;
  return longest;
}
