// Holds docs/protocol.md against the code: whoever adds a code, a close, a reason, a frame, a call or a limit says so
// there. What a sentence there promises is held by the tests of the room that keeps the promise.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CLOSES, type CloseCode } from "#core/domain/closes.ts";
import { CODES, type CodeEntry, DROP_REASONS, GAP_REASONS, UNSUBSCRIBE_REASONS } from "#core/domain/codes.ts";
import * as limits from "#core/domain/limits.ts";
import { hashTopicId, shardOf } from "#core/domain/shard.ts";
import { POLICY_DEFAULTS } from "#core/domain/topic.ts";
import { SETTINGS } from "#core/runtime/settings.ts";
import { PublisherService } from "#proto/earshot/v1/publisher_pb.ts";
import { SubscriberService } from "#proto/earshot/v1/subscriber_pb.ts";
import { TopicService } from "#proto/earshot/v1/topic_pb.ts";
import { openapiDocument } from "../../gateway/http/openapi/document.ts";
import { SCHEMAS } from "../../gateway/http/openapi/schemas.ts";
import type { ControlFrame } from "../../gateway/sessions/control-frame.ts";
import type { ClientFrame } from "../../gateway/websocket/client-frame.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/protocol.md"), "utf8");

/** Rows of every table, each as its cells. */
const ROWS = PAGE.split("\n")
  .filter((line) => line.startsWith("| "))
  .map((line) => line.slice(1, -1).split("|"))
  .map((cells) => cells.map((cell) => cell.trim()));

function rowOf(first: string): string[] | undefined {
  return ROWS.find(([cell]) => cell === first);
}

/** The part of the page under a heading, up to the next one of its level or above. */
function section(heading: string): string {
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const lines = PAGE.split("\n");
  const start = lines.indexOf(heading);
  expect(start, heading).toBeGreaterThan(0);
  const length = lines.slice(start + 1).findIndex((line) => {
    const hashes = /^#+/.exec(line)?.[0].length ?? 0;
    return hashes > 0 && hashes <= level;
  });
  return lines.slice(start, length < 0 ? undefined : start + 1 + length).join("\n");
}

test.each(Object.entries<CodeEntry>(CODES))("the code %s is there as it is in the code", (code, entry) => {
  const { http, grpc, close, retryable } = entry;
  const row = [`\`${code}\``, String(http), String(grpc), close === undefined ? "" : String(close)];
  expect(ROWS).toContainEqual([...row, retryable ? "yes" : "no"]);
});

const COME_BACK = { after_delay: /delay_ms|likewise/, with_new_token: /new token/, yes: /^yes$/, no: /^no$/ };

test.each(Object.keys(CLOSES).map(Number) as CloseCode[])("the close %i is there, and whether to come back", (code) => {
  const { meaning, comeBack } = CLOSES[code];
  const [, said = "", then = ""] = rowOf(String(code)) ?? [];
  expect(said.startsWith(meaning), said).toBe(true);
  expect(then).toMatch(COME_BACK[comeBack]);
});

test("no close is there that the code does not know", () => {
  const codes = [...section("### Close codes").matchAll(/^\| (\d{4}) \|/gm)].map(([, code]) => code);
  expect(new Set(codes)).toEqual(new Set(Object.keys(CLOSES)));
});

test("every reason has its row: of gaps, of ended subscriptions; those of drops are named", () => {
  for (const reason of [...Object.keys(GAP_REASONS), ...Object.keys(UNSUBSCRIBE_REASONS)]) {
    expect(rowOf(`\`${reason}\``), reason).toBeDefined();
  }
  for (const reason of Object.keys(DROP_REASONS)) expect(PAGE).toContain(`\`${reason}\``);
});

/** The compiler refuses this when a frame type is missing. */
const CLIENT_FRAMES: Readonly<Record<ClientFrame["type"], true>> = {
  subscribe: true,
  unsubscribe: true,
  publish: true,
  token: true,
  ping: true,
};
const SERVER_FRAMES: Readonly<Record<ControlFrame["type"] | "message", true>> = {
  welcome: true,
  subscribed: true,
  unsubscribed: true,
  published: true,
  error: true,
  gap: true,
  token: true,
  token_expiring: true,
  reconnect: true,
  pong: true,
  presence: true,
  message: true,
};

test("every frame of a client has a row and an example, every frame of the server an example", () => {
  for (const type of Object.keys(CLIENT_FRAMES)) {
    expect(rowOf(`\`${type}\``), type).toBeDefined();
    expect(section("### Frames of the client")).toContain(`{"type":"${type}"`);
  }
  for (const type of Object.keys(SERVER_FRAMES)) expect(PAGE).toContain(`{"type":"${type}"`);
});

/** Every line that is one JSON object, in a block of code or behind `data:`. */
const EXAMPLES = PAGE.split("\n")
  .map((line) => line.replace(/^data: /, ""))
  .filter((line) => /^\{".*\}$/.test(line));

test("examples are JSON, with types, codes and reasons that there are", () => {
  expect(EXAMPLES.length).toBeGreaterThan(30);
  const types = new Set([...Object.keys(CLIENT_FRAMES), ...Object.keys(SERVER_FRAMES)]);
  const reasons = new Set(Object.keys({ ...GAP_REASONS, ...UNSUBSCRIBE_REASONS, ...DROP_REASONS }));
  for (const line of EXAMPLES) {
    const example = JSON.parse(line) as Record<string, unknown>;
    const { type, code, reason } = example;
    const isProblem = typeof type === "string" && type.startsWith("https:");
    if (type !== undefined && !isProblem) expect(types, line).toContain(type);
    if (code !== undefined) expect(Object.keys(CODES), line).toContain(code);
    if (reason !== undefined) expect(reasons, line).toContain(reason);
  }
});

test("every call of HTTP and gRPC is named", () => {
  const sections = `${section("## HTTP")}\n${section("## Server-sent events")}`;
  for (const [path, methods] of Object.entries(openapiDocument({ standalone: true }).paths)) {
    for (const method of Object.keys(methods)) expect(sections).toContain(`${method.toUpperCase()} ${path}`);
  }
  for (const service of [PublisherService, TopicService, SubscriberService]) {
    expect(rowOf(`\`${service.typeName}\``), service.typeName).toBeDefined();
  }
});

test("every field of a request, and every field of an answer, is named", () => {
  for (const name of [
    "Publish",
    "TopicCreate",
    "Published",
    "Topic",
    "TopicChanged",
    "Subscribers",
    "Route",
  ] as const) {
    for (const field of Object.keys(SCHEMAS[name]["properties"] as object)) {
      expect(PAGE.includes(`\`${field}\``) || PAGE.includes(`"${field}":`), `${name}.${field}`).toBe(true);
    }
  }
});

test("the limits are those of the code", () => {
  const table = section("## Limits");
  const number = (value: number): string => value.toLocaleString("en-US");
  const kib = (bytes: number): string => `${bytes / 1024} KiB`;
  const mib = (bytes: number): string => `${bytes / 1024 / 1024} MiB`;
  const { controlMessagesPerSecond, controlMessagesBurst, requestsPerSecondPerPrincipal } = SETTINGS;
  const { requestsPerSecondPerAddress, upgradesPerSecond, connectionsMax, unsentBytes } = SETTINGS;
  for (const said of [
    `${kib(POLICY_DEFAULTS.maxMessageBytes)}, at most ${mib(limits.MESSAGE_BYTES_MAX)}`,
    `4/3 of the largest payload of all Topics + ${kib(limits.BODY_OVERHEAD_BYTES)}`,
    `${limits.BATCH_MESSAGES_MAX} messages; ${mib(limits.BATCH_BYTES_MAX)}`,
    `${limits.JSON_DEPTH_MAX} levels`,
    `${limits.TOPIC_ID_BYTES_MAX} bytes, and ${limits.CHANNEL_BYTES_MAX} of a channel`,
    `${number(POLICY_DEFAULTS.maxPublishesPerSecond)} a second`,
    `${SETTINGS.subscriptionsPerConnection.default} [\`subscriptionsPerConnection\`]`,
    `${controlMessagesPerSecond.default} a second, ${controlMessagesBurst.default} at once`,
    `${mib(unsentBytes.default)} [\`unsentBytes\`]`,
    `${number(requestsPerSecondPerPrincipal.default)} a second, twice that`,
    `${number(requestsPerSecondPerAddress.default)} a second, twice that`,
    `${number(upgradesPerSecond.default)} a second, twice that`,
    `${number(connectionsMax.default)} [\`connectionsMax\`]`,
    `| ${number(limits.PRESENCE_PAGE_MAX)} |`,
  ]) {
    expect(table).toContain(said);
  }
});

test("the shard hash is the code's", () => {
  const rows = [...section("## Appendix: the shard hash").matchAll(/^\| `([^`]+)` \| (\d+) \| (\d+) \|$/gm)];
  expect(rows.length).toBe(5);
  for (const [, id = "", hash, shard] of rows)
    expect([hashTopicId(id), shardOf(id)].map(String)).toEqual([hash, shard]);
});

test("links within the page lead somewhere", () => {
  const headings = [...PAGE.matchAll(/^#+ (.+)$/gm)].map(([, text = ""]) =>
    text
      .toLowerCase()
      .replaceAll(/[^a-z0-9 -]/g, "")
      .replaceAll(" ", "-"),
  );
  for (const [, anchor] of PAGE.matchAll(/\]\(#([^)]+)\)/g)) expect(headings).toContain(anchor);
});
