import { Drill, restart } from "../test/harness/drill.ts";
import { startFleet } from "../test/harness/fleet.ts";
const fleet = await startFleet({ env: { EARSHOT_LOG_LEVEL: "warn" } });
for (let run = 0; run < Number(process.argv[2] ?? 20); run++) {
  const drill = await Drill.start(fleet);
  const victim = drill.primary();
  const at = drill.counter.published;
  fleet.kill(victim);
  await fleet.ended(victim);
  await drill.flows(200);
  await restart(fleet, victim);
  await drill.isMapped(victim);
  await drill.stop();
  const f = drill.figures();
  console.log(run, "kill at", at, "of", f.published, "unknown", f.told.unknown, "silence", f.longestSilenceMs, Object.fromEntries(drill.counter.ears.map((e) => { const h = drill.counter.heard(e); return [e, h.lost.length === 0 ? 0 : `${h.lost.length}: ${h.lost[0]}..${h.lost.at(-1)} gaps ${h.gapReasons}`]; })));
  await drill.close();
}
await fleet.close();
process.exit(0);
