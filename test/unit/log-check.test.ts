import { expect, test } from "vitest";
import { checkLogs, PAYLOAD_MARK, textsOf } from "../../scripts/log-check.ts";
import { signToken } from "../harness/token.ts";

const RULES = { sentences: new Set(["link dead", "router ready"]), secrets: ["open sesame"] };

const GOOD = { level: "warn", time: "2026-01-01T00:00:00.000Z", role: "router", message: "link dead" };

function check(line: object | string): readonly string[] {
  const text = typeof line === "string" ? line : JSON.stringify(line);
  return checkLogs([{ name: "router-0.log", text: `${JSON.stringify(GOOD)}\n${text}\n` }], RULES);
}

test("lines with a constant sentence and fields pass, and so does what Node.js says of itself", () => {
  expect(
    check({ ...GOOD, gateway: "gateway-0", tookMs: 3, error: { name: "Error", message: "read ECONNRESET" } }),
  ).toEqual([]);
  expect(check("(node:42) Warning: something is deprecated\n(Use `node --trace-deprecation ...`)")).toEqual([]);
});

test("the one sentence of a process that cannot begin passes, and so do the lines of its next start", () => {
  expect(check("peers (--peers, EARSHOT_PEERS) must be folder:<path>")).toEqual([]);
  expect(check(`peers must be folder:<path>\n${JSON.stringify(GOOD)}`)).toEqual([]);
});

test.each([
  ["a token", { ...GOOD, cause: `${signToken({ sub: "alice" })} was not accepted` }, "holds a token"],
  ["a token of another kind in plain text", `token is ${signToken({ sub: "alice" })}`, "holds a token"],
  ["a token in a URL", { ...GOOD, url: "/ws/subscribe?token=abc" }, "holds a token in a URL"],
  ["an Authorization header", { ...GOOD, cause: "Bearer abcdefgh12345" }, "holds an Authorization header"],
  ["a password in a URL", { ...GOOD, cause: "redis://app:hunter2@redis:6379 refused" }, "holds a password in a URL"],
  ["a private key", { ...GOOD, cause: "-----BEGIN EC PRIVATE KEY-----" }, "holds a private key"],
  ["a payload", { ...GOOD, cause: `${PAYLOAD_MARK} is too large` }, "holds a payload"],
  ["a secret of the run", { ...GOOD, cause: "open sesame is too short" }, "holds a secret"],
  ["a field that would hold one", { ...GOOD, request: { headers: [] } }, "has the field headers"],
  ["a sentence put together", { ...GOOD, message: "link to router-7 dead" }, "has a sentence that is not constant"],
  ["no sentence", { ...GOOD, message: undefined }, "has no message"],
  ["no role", { ...GOOD, role: "" }, "has no role"],
  ["an error that nobody caught", "TypeError: x is not a function\n    at router/main.ts:7", "is no line of JSON"],
])("%s in a log is found, and is not shown", (_what, line, problem) => {
  const found = check(line);
  expect(found).toContain(`router-0.log:2: ${problem}`);
  expect(found.join()).not.toMatch(/eyJ|hunter2|sesame is|too large/);
});

test("texts of source code are those in double quotes", () => {
  expect(textsOf('log.info({ a: "b" }, "link \\"alive\\"");\nconst x = `no ${"inner"}`;')).toEqual([
    "b",
    'link \\"alive\\"',
    "inner",
  ]);
});
