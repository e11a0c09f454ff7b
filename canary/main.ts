// Owns: the canary process: a client like any other, which speaks to itself through the whole installation every second and
// measures what docs/slo.md promises: whether it was taken, heard, and how soon. It begins to speak when it first listens.

import { SYSTEM_CLOCK } from "#core/runtime/clock.ts";
import { ConfigError, flagOf, variableOf } from "#core/runtime/config.ts";
import { durations } from "#core/runtime/durations.ts";
import type { Log } from "#core/runtime/log.ts";
import { type Registry, readCounter, readGauge } from "#core/runtime/metrics.ts";
import { tellParent } from "#core/runtime/parent.ts";
import type { CallerCredentials } from "#core/runtime/peer-identity.ts";
import { Probes } from "#core/runtime/probes.ts";
import { type ProcessParts, runProcess } from "#core/runtime/process.ts";
import type { Config } from "#core/runtime/settings.ts";
import { TokenFile } from "#core/runtime/token-file.ts";
import { CaFile } from "./ca-file.ts";
import { Ears } from "./ears.ts";
import { Ledger } from "./ledger.ts";
import { Mouth } from "./mouth.ts";

const clock = SYSTEM_CLOCK;

async function start({ config, self, log, lifecycle, registry }: ProcessParts): Promise<void> {
  const { topicId, publish, subscribe } = placesOf(config);
  const ledger = new Ledger(heardSeconds(registry));
  const token = tokenOf(config, log);
  const toward = credentialsOf(config, token);
  const mouth = lifecycle.own("mouth", new Mouth({ address: publish, topicId, credentials: toward(publish), log }));
  const heard = (payload: string): void => {
    const number = numberOf(payload, self.incarnation);
    if (number !== undefined) ledger.heard(number, clock.monotonic());
  };
  const ears = lifecycle.own(
    "ears",
    new Ears({ address: subscribe, topicId, credentials: toward(subscribe), clock, log, heard }),
  );
  register(registry, ledger, ears);
  const readiness = (): readonly string[] => (ears.listening ? [] : ["not listening"]);
  const { internalHost, probesPort } = config;
  const probes = lifecycle.own("probes", await Probes.listen(internalHost, probesPort, registry, readiness));

  let shown = token?.token;
  let isSpeaking = false;
  const timer = clock.every(config.canaryInterval, () => {
    ledger.sweep(clock.monotonic());
    // A stream ends with the token that it was opened with.
    if (token?.token !== shown) ears.move();
    shown = token?.token;
    isSpeaking ||= ears.listening;
    if (!isSpeaking || lifecycle.stopping) return;
    const number = ledger.speak(clock.monotonic());
    void mouth.speak(JSON.stringify({ canary: self.incarnation, number })).then((taken) => {
      if (taken) ledger.accepted(number);
    });
  });
  lifecycle.own("timer", { close: async () => timer.cancel() });
  ears.start();
  log.info({ port: probes.port, topicId, publish, subscribe }, "canary started");
  tellParent({ type: "ready", ports: {} });
}

/** What is shown to an address, and expected of it. */
function credentialsOf(config: Config, token: TokenFile | undefined): (address: string) => CallerCredentials {
  const { canaryCaFile: path, canaryServerName } = config;
  const setting = `canaryCaFile (${flagOf("canaryCaFile")}, ${variableOf("canaryCaFile")})`;
  const source = path === "" ? undefined : new CaFile(setting, path);
  return (address) => {
    // A dot at the end says that a name is whole; certificates do not have it.
    const host = address.slice(0, address.lastIndexOf(":")).replace(/\.$/, "");
    const serverName = canaryServerName === "" ? host : canaryServerName;
    return {
      bearer: () => token?.token,
      tls: source === undefined ? undefined : { source, serverName },
    };
  };
}

function tokenOf({ canaryTokenFile: path }: Config, log: Log): TokenFile | undefined {
  const setting = `canaryTokenFile (${flagOf("canaryTokenFile")}, ${variableOf("canaryTokenFile")})`;
  return path === "" ? undefined : new TokenFile({ setting, path, clock, log });
}

function placesOf(config: Config) {
  for (const name of ["canaryTopic", "canaryPublish", "canarySubscribe"] as const) {
    if (config[name] === "") throw new ConfigError(`${name} (${flagOf(name)}, ${variableOf(name)}) must be set`);
  }
  return { topicId: config.canaryTopic, publish: config.canaryPublish, subscribe: config.canarySubscribe };
}

/** The number of a message of this very process; others may speak on the topic too. */
function numberOf(payload: string, incarnation: string): number | undefined {
  try {
    const value: unknown = JSON.parse(payload);
    if (typeof value !== "object" || value === null || !("canary" in value) || !("number" in value)) return undefined;
    return value.canary === incarnation && typeof value.number === "number" ? value.number : undefined;
  } catch {
    return undefined;
  }
}

function heardSeconds(registry: Registry): (ms: number) => void {
  const help = "From the canary's publishing a message to its hearing it, by one clock.";
  const seconds = durations(registry, "earshot_canary_heard_seconds", help);
  return (ms) => seconds.observeMs(ms);
}

function register(registry: Registry, ledger: Ledger, ears: Ears): void {
  const { counts } = ledger;
  const counter = (name: string, help: string, read: () => number): void => {
    readCounter(registry, `earshot_canary_${name}_total`, help, read);
  };
  counter("sent", "Messages that the canary published, or tried to.", () => counts.sent);
  counter("heard", "Messages of the canary that it heard within 5 s.", () => counts.heard);
  counter("missed", "Messages of the canary that were taken and that it did not hear within 5 s.", () => counts.missed);
  const refused = "Messages of the canary of which nobody said that they were taken, and that it did not hear.";
  counter("refused", refused, () => counts.refused);
  const open = "Messages of the canary that are under way: as many as it sends within 5 s at most.";
  readGauge(registry, "earshot_canary_open", open, () => ledger.open);
  const listening = "1 while the canary has a subscription, else 0.";
  readGauge(registry, "earshot_canary_listening", listening, () => (ears.listening ? 1 : 0));
}

await runProcess("canary", start);
