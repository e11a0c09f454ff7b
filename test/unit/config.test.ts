import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  ConfigError,
  environmentOf,
  flagOf,
  formatBytes,
  formatDuration,
  formatValue,
  loadConfig,
  parseValue,
  variableOf,
} from "#core/runtime/config.ts";
import { SETTINGS, type Setting, type SettingName } from "#core/runtime/settings.ts";

const folder = mkdtempSync(join(tmpdir(), "earshot-config-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ALL = (Object.keys(SETTINGS) as SettingName[]).map((name): [SettingName, Setting] => [name, SETTINGS[name]]);

function file(text: string): string {
  const path = join(folder, `${Math.random()}.yaml`);
  writeFileSync(path, text);
  return path;
}

function load(argv: string[], env: Record<string, string> = {}): ReturnType<typeof loadConfig> {
  return loadConfig("standalone", { argv, env });
}

describe("every setting", () => {
  test.each(ALL)("%s has a default that it would take itself", (name, setting) => {
    expect(parseValue(name, setting, formatValue(setting, setting.default))).toEqual(setting.default);
  });

  test.each(ALL)("%s tells what it means, and to whom", (_name, setting) => {
    expect(setting.meaning).toMatch(/^[A-Z].*\.$/s);
    expect(setting.readers.length).toBeGreaterThan(0);
  });

  const ranged = ALL.filter(([, { kind }]) => kind === "integer" || kind === "duration" || kind === "bytes");
  test.each(ranged)("%s takes its least and its most, and nothing beyond", (name, setting) => {
    if (!("min" in setting)) throw new Error("has no range");
    const unit = setting.kind === "duration" ? "ms" : "";
    const parse = (value: number): unknown => parseValue(variableOf(name), setting, `${value}${unit}`);
    expect(parse(setting.min)).toBe(setting.min);
    expect(parse(setting.max)).toBe(setting.max);
    expect(() => parse(setting.max + 1)).toThrow(ConfigError);
    expect(() => parse(setting.min - 1)).toThrow(ConfigError);
    expect(() => parseValue(variableOf(name), setting, "")).toThrow(variableOf(name));
    expect(() => parseValue(variableOf(name), setting, "many")).toThrow(variableOf(name));
  });

  const choices = ALL.filter(([, { kind }]) => kind === "choice" || kind === "boolean");
  test.each(choices)("%s takes each of its choices and no other word", (name, setting) => {
    const words = setting.kind === "choice" ? setting.choices : ["true", "false"];
    for (const word of words) expect(String(parseValue(name, setting, word))).toBe(word);
    for (const word of ["", "TRUE", "yes", "1"]) expect(() => parseValue(name, setting, word)).toThrow(ConfigError);
  });
});

describe("a value", () => {
  test("of duration takes its units and no other", () => {
    const { drain } = SETTINGS;
    expect(parseValue("drain", drain, "1500ms")).toBe(1_500);
    expect(parseValue("drain", drain, "5s")).toBe(5_000);
    expect(parseValue("drain", drain, "10m")).toBe(600_000);
    expect(parseValue("drain", drain, "1h")).toBe(3_600_000);
    expect(parseValue("drain", drain, "0")).toBe(0);
    for (const text of ["5", "5 days", "-5s", "1.5s", "5S", "5s5s", " 5s"]) {
      expect(() => parseValue("EARSHOT_DRAIN", drain, text)).toThrow(
        `EARSHOT_DRAIN must be a duration from 0 to 1h, like 500ms, 5s, 10m or 4h, not ${JSON.stringify(text)}`,
      );
    }
  });

  test("of bytes takes its units and no other", () => {
    const { unsentBytes } = SETTINGS;
    expect(parseValue("unsentBytes", unsentBytes, "65536")).toBe(65_536);
    expect(parseValue("unsentBytes", unsentBytes, "64KiB")).toBe(65_536);
    expect(parseValue("unsentBytes", unsentBytes, "2MiB")).toBe(2_097_152);
    for (const text of ["64kb", "64KB", "-1", "1e6", "0x10000", "99999999999999999999"]) {
      expect(() => parseValue("x", unsentBytes, text)).toThrow("a size from 64KiB to 256MiB");
    }
  });

  test("of a host is an address or a name, never empty, which would open every address", () => {
    for (const host of ["127.0.0.1", "::1", "localhost", "a.example.com"]) {
      expect(parseValue("host", SETTINGS.host, host)).toBe(host);
    }
    for (const host of ["", " ", "-a", "a_b", "http://a", "[::1]", "a".repeat(64), "a b"]) {
      expect(() => parseValue("host", SETTINGS.host, host)).toThrow("an address or a host name");
    }
  });

  test("of a folder is never empty", () => {
    expect(parseValue("topics", SETTINGS.topics, "./a")).toBe("./a");
    for (const path of ["", "a\0b"]) expect(() => parseValue("topics", SETTINGS.topics, path)).toThrow("a folder");
  });

  test("of origins is what a browser sends", () => {
    const origins = parseValue("o", SETTINGS.allowedOrigins, "https://a.example, http://localhost:3000,,*");
    expect(origins).toEqual(["https://a.example", "http://localhost:3000", "*"]);
    for (const bad of ["a.example", "https://a.example/", "https://a.example/path", "*.example"]) {
      expect(() => parseValue("o", SETTINGS.allowedOrigins, bad)).toThrow("origins like https://example.com");
    }
  });

  test("of proxies is an address or a range", () => {
    const proxies = ["10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1", "0.0.0.0/0", "10.0.0.0/32", "fd00::/128"];
    expect(parseValue("p", SETTINGS.trustedProxies, proxies.join(","))).toEqual(proxies);
    for (const bad of ["10.0.0.0/33", "fd00::/129", "10.0.0", "proxy", "10.0.0.0/8/8", "10.0.0.0/", "10.0.0.0/-1"]) {
      expect(() => parseValue("p", SETTINGS.trustedProxies, bad)).toThrow("addresses or ranges");
    }
  });

  test("of a namespace is a DNS label, or empty", () => {
    const { httpTopicsNamespace } = SETTINGS;
    for (const good of ["", "default", "a".repeat(63)]) expect(parseValue("n", httpTopicsNamespace, good)).toBe(good);
    for (const bad of ["A", "a.b", "-a", "a".repeat(64)]) {
      expect(() => parseValue("n", httpTopicsNamespace, bad)).toThrow("a namespace");
    }
  });

  test("that is secret is not repeated when it is wrong", () => {
    expect(parseValue("EARSHOT_SECRET", SETTINGS.secret, "k".repeat(32))).toBe("k".repeat(32));
    const short = "k".repeat(31);
    expect(() => parseValue("EARSHOT_SECRET", SETTINGS.secret, short)).toThrow("must be 32 bytes long at least");
    expect(() => parseValue("EARSHOT_SECRET", SETTINGS.secret, short)).not.toThrow("kkk");
  });

  test("of JSON is JSON", () => {
    expect(parseValue("i", SETTINGS.issuers, '[{"issuer":"x"}]')).toEqual([{ issuer: "x" }]);
    expect(() => parseValue("EARSHOT_ISSUERS", SETTINGS.issuers, "{")).toThrow("EARSHOT_ISSUERS must be JSON");
  });

  test("is written as a user would", () => {
    expect([0, 250, 1_000, 90_000, 3_600_000].map(formatDuration)).toEqual(["0", "250ms", "1s", "90s", "1h"]);
    expect([0, 1_000, 1_024, 1_048_576].map(formatBytes)).toEqual(["0", "1000", "1KiB", "1MiB"]);
  });
});

describe("where a value comes from", () => {
  test("a flag wins over the environment, the environment over the file, the file over the default", () => {
    const path = file("port: 1\ngrpcPort: 2\nrouters: 3\nallowedOrigins: [https://a.example, https://b.example]\n");
    const { config, given } = load(["--port", "11", `--config=${path}`], {
      EARSHOT_PORT: "21",
      EARSHOT_GRPC_PORT: "22",
    });
    expect(config).toMatchObject({ port: 11, grpcPort: 22, routers: 3, gateways: 2 });
    expect(config.allowedOrigins).toEqual(["https://a.example", "https://b.example"]);
    expect([...given].sort()).toEqual(["allowedOrigins", "grpcPort", "port", "routers"]);
  });

  test("the environment may name the file", () => {
    expect(load([], { EARSHOT_CONFIG: file("drain: 1s") }).config.drain).toBe(1_000);
    expect(load([], { EARSHOT_CONFIG: "" }).config.drain).toBe(5_000);
    expect(load([], { EARSHOT_CONFIG: file("") }).config.drain).toBe(5_000);
  });

  test("a boolean flag may stand alone, or say its value", () => {
    expect(load(["--anonymous"]).config.anonymous).toBe(true);
    expect(load(["--anonymous", "false"]).config.anonymous).toBe(false);
    expect(load(["--anonymous=true", "--port", "1"]).config.anonymous).toBe(true);
  });

  test.each([
    [["--prot", "1"], "--prot is not a setting"],
    [["8080"], "8080 is not a setting"],
    [["--port"], "--port needs a value"],
    [["--port", "x"], "--port must be a whole number from 0 to 65535"],
    [["--peers", "folder:a"], "--peers is not a setting of the standalone process"],
    [["--config", "/nowhere.yaml"], "/nowhere.yaml (--config, EARSHOT_CONFIG) cannot be read"],
  ])("%j is refused by name", (argv, sentence) => {
    expect(() => load(argv)).toThrow(sentence);
  });

  test.each([
    ["port: 99999", "port in "],
    ["prot: 1", "prot in "],
    ["- a", "must be a YAML mapping"],
    ["port: [", "cannot be read"],
    ["__proto__: 1", "__proto__ in "],
  ])("a file of %j is refused by name", (text, sentence) => {
    expect(() => load(["--config", file(text)])).toThrow(sentence);
  });

  test("the environment's name of a setting stands in what is said about it", () => {
    expect(() => load([], { EARSHOT_GRPC_PORT: "-1" })).toThrow("EARSHOT_GRPC_PORT must be");
  });

  test("a name is spelled three ways", () => {
    expect(flagOf("connectionsPerAddress")).toBe("--connections-per-address");
    expect(variableOf("connectionsPerAddress")).toBe("EARSHOT_CONNECTIONS_PER_ADDRESS");
  });
});

test("a process is given by its environment what its parent has read, and nothing that it does not read", () => {
  const { config } = load(["--drain", "1500ms", "--unsent-bytes", "1MiB", "--issuers", '[{"issuer":"a,b"}]']);
  const environment = environmentOf("gateway", { ...config, name: "gateway-0" });
  expect(environment).toMatchObject({
    EARSHOT_DRAIN: "1500ms",
    EARSHOT_UNSENT_BYTES: "1MiB",
    EARSHOT_ISSUERS: '[{"issuer":"a,b"}]',
    EARSHOT_NAME: "gateway-0",
  });
  expect(environment).not.toHaveProperty("EARSHOT_TOPICS");
  expect(environment).not.toHaveProperty("EARSHOT_HOT_SUBSCRIPTIONS");
  const again = loadConfig("gateway", { argv: [], env: environment }).config;
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    if ((SETTINGS[name].readers as readonly string[]).includes("gateway") && name !== "name") {
      expect(again[name], name).toEqual(config[name]);
    }
  }
});
