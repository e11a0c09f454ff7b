// Owns: Topic manifests that fast-check makes: mostly right, and wrong in every way. What judges them is tried with these by
// an oracle (test/property/operator-schema.test.ts) and by a real API server (test/cluster/crd-agreement.test.ts).

import * as fc from "fast-check";

type Json = unknown;
type Mapping = Record<string, Json>;

export const SUBJECT_KINDS = ["User", "Group", "ServiceAccount", "ChannelUser"];

/** Mostly right values, and some that are wrong in every way. */
const odd = fc.oneof(
  fc.constantFrom<Json>(null, true, "", "x", 0, -1, 1.5, [], {}, "Public", 1_048_576, 1_048_577, 65, 100_000_001),
  fc.string({ maxLength: 4 }),
  fc.integer(),
);

function mostly<T>(right: fc.Arbitrary<T>): fc.Arbitrary<Json> {
  return fc.oneof({ weight: 30, arbitrary: right as fc.Arbitrary<Json> }, { weight: 1, arbitrary: odd });
}

function some(fields: Record<string, fc.Arbitrary<Json>>): fc.Arbitrary<Mapping> {
  return fc
    .tuple(
      fc.record(fields, { requiredKeys: [] }),
      fc.oneof(
        { weight: 40, arbitrary: fc.constant({}) },
        {
          weight: 1,
          arbitrary: fc.dictionary(fc.constantFrom("Owner", "foo", "toString", "__proto__"), odd, { maxKeys: 1 }),
        },
      ),
    )
    .map(([known, unknown]) => ({ ...known, ...unknown }));
}

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?$/);
const subject = some({
  kind: mostly(fc.constantFrom(...SUBJECT_KINDS)),
  name: mostly(fc.oneof(label, fc.constantFrom("ä".repeat(256), "ä".repeat(257), "https://issuer/alice"))),
  namespace: mostly(label),
});
const rightSubject: fc.Arbitrary<Json> = fc.oneof(
  label.map((name) => ({ kind: "User", name })),
  label.map((name) => ({ kind: "ServiceAccount", name, namespace: "shop" })),
  fc.constant({ kind: "ChannelUser" }),
);
const subjects = fc.oneof(
  { weight: 6, arbitrary: fc.array(rightSubject, { maxLength: 3 }) },
  { weight: 2, arbitrary: fc.array(mostly(subject), { maxLength: 3 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(64, 65).map((length) => Array.from({ length }, () => ({ kind: "ChannelUser" }))),
  },
);
const spec = some({
  permissions: mostly(fc.constantFrom("Public", "Private", "PublishOnly", "SubscribeOnly")),
  owner: mostly(fc.constantFrom("alice", "bob", "x".repeat(256), "x".repeat(257))),
  publishers: mostly(subjects),
  subscribers: mostly(subjects),
  channels: mostly(fc.constantFrom("None", "Dynamic")),
  presence: mostly(fc.constantFrom("None", "Count", "Members")),
  delivery: mostly(
    some({
      slowConsumer: mostly(fc.constantFrom("DropOldest", "DropNewest", "Disconnect")),
      maxMessageBytes: mostly(fc.constantFrom(1, 65_536, 1_048_576)),
      batchWindowMilliseconds: mostly(fc.constantFrom(0, 1_000)),
      priority: mostly(fc.constantFrom("Normal", "Low")),
    }),
  ),
  limits: mostly(
    some({
      maxPublishesPerSecond: mostly(fc.constantFrom(0, 1_000_000)),
      maxSubscribers: mostly(fc.constantFrom(0, 100_000_000)),
      maxChannels: mostly(fc.constantFrom(0, 100_000_000)),
    }),
  ),
});
const name = fc.oneof(
  { weight: 20, arbitrary: label },
  {
    weight: 1,
    arbitrary: fc.constantFrom("a".repeat(189), "a".repeat(190), "a".repeat(253), "a".repeat(254), "a.b", "a..b"),
  },
);
/** A Topic's manifest, right or wrong. */
export const manifest: fc.Arbitrary<Mapping> = some({
  metadata: mostly(
    some({ name: mostly(name), namespace: mostly(fc.oneof(label, fc.constantFrom("a".repeat(63), "a".repeat(64)))) }),
  ),
  spec: fc.oneof(
    { weight: 30, arbitrary: spec as fc.Arbitrary<Json> },
    { weight: 1, arbitrary: fc.constantFrom("x", 1, []) },
  ),
}).map((parts) => ({ apiVersion: "earshot.dev/v1alpha1", kind: "Topic", ...parts }));
