// Owns: reading settings. Flags win over the environment, the environment over the file (`--config`, EARSHOT_CONFIG),
// the file over defaults. Whatever is wrong is one sentence that names the setting as the user wrote it and says what
// would be right. Called once by each main; nothing else reads process.env or process.argv.

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { parse as parseYaml } from "yaml";
import { messageOf } from "./errors.ts";
import { type Config, SETTINGS, type Setting, type SettingName, type SettingReader } from "./settings.ts";

/** A setting that cannot be used. The message is for the user, complete, and names the setting. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

export interface ConfigSources {
  /** Without node and script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Settings that somebody set, wherever. */
  readonly given: ReadonlySet<SettingName>;
}

const NAMES = Object.keys(SETTINGS) as SettingName[];

export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

export function variableOf(name: string): string {
  return `EARSHOT_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** Parses everything that a process reads. Throws ConfigError. */
export function loadConfig(reader: SettingReader, sources: ConfigSources): LoadedConfig {
  const flags = parseFlags(sources.argv);
  const filePath = flags.get("config") ?? sources.env["EARSHOT_CONFIG"];
  const file = filePath === undefined || filePath === "" ? new Map<SettingName, unknown>() : readFile(filePath);
  const given = new Set<SettingName>();
  const values: Record<string, unknown> = {};
  for (const name of NAMES) {
    const setting: Setting = SETTINGS[name];
    values[name] = setting.default;
    const variable = variableOf(name);
    const flag = flags.get(name);
    const fromEnvironment = sources.env[variable];
    if (flag !== undefined) values[name] = parseValue(flagOf(name), setting, flag);
    else if (fromEnvironment !== undefined) values[name] = parseValue(variable, setting, fromEnvironment);
    else if (file.has(name)) values[name] = parseValue(`${name} in ${filePath}`, setting, asText(file.get(name)));
    else continue;
    if (flag !== undefined && !(setting.readers as readonly string[]).includes(reader)) {
      throw new ConfigError(`${flagOf(name)} is not a setting of the ${reader} process`);
    }
    given.add(name);
  }
  return { config: values as unknown as Config, given };
}

function parseFlags(argv: readonly string[]): Map<SettingName | "config", string> {
  const known = new Map<string, SettingName | "config">([
    ["--config", "config"],
    ...NAMES.map((name) => [flagOf(name), name] as const),
  ]);
  const flags = new Map<SettingName | "config", string>();
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? "";
    const equals = argument.indexOf("=");
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const name = known.get(flag);
    if (name === undefined) throw new ConfigError(`${flag} is not a setting; --help lists them`);
    const isBoolean = name !== "config" && SETTINGS[name].kind === "boolean";
    if (equals >= 0) flags.set(name, argument.slice(equals + 1));
    else if (isBoolean && !isBooleanText(argv[index + 1])) flags.set(name, "true");
    else {
      index += 1;
      const value = argv[index];
      if (value === undefined) throw new ConfigError(`${flag} needs a value`);
      flags.set(name, value);
    }
  }
  return flags;
}

function isBooleanText(text: string | undefined): boolean {
  return text === "true" || text === "false";
}

function readFile(path: string): Map<SettingName, unknown> {
  let content: unknown;
  try {
    content = parseYaml(readFileSync(path, "utf8"));
  } catch (error) {
    throw new ConfigError(`the settings file ${path} (--config, EARSHOT_CONFIG) cannot be read: ${messageOf(error)}`);
  }
  if (content === null || content === undefined) return new Map();
  if (typeof content !== "object" || Array.isArray(content)) {
    throw new ConfigError(`the settings file ${path} must be a YAML mapping of setting names to values`);
  }
  for (const key of Object.keys(content)) {
    if (!Object.hasOwn(SETTINGS, key)) throw new ConfigError(`${key} in ${path} is not a setting; --help lists them`);
  }
  return new Map(Object.entries(content) as [SettingName, unknown][]);
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) && value.every((item) => typeof item === "string")
    ? value.join(",")
    : JSON.stringify(value);
}

/** Parses one value; `where` is the setting as the user wrote it. Throws ConfigError. */
export function parseValue(where: string, setting: Setting, text: string): unknown {
  const wrong = (right: string): ConfigError =>
    new ConfigError(`${where} must be ${right}${setting.secret === true ? "" : `, not ${JSON.stringify(text)}`}`);
  switch (setting.kind) {
    case "text": {
      const right = setting.check?.(text);
      if (right !== undefined) throw wrong(right);
      return text;
    }
    case "host":
      if (isIP(text) === 0 && !HOST_NAME.test(text)) throw wrong("an address or a host name, like 127.0.0.1");
      return text;
    case "path":
      if (text === "" || text.includes("\0")) throw wrong("the path of a folder");
      return text;
    case "integer":
      return inRange(/^\d{1,15}$/.test(text) ? Number(text) : Number.NaN, setting, () =>
        wrong(`a whole number from ${setting.min} to ${setting.max} (${setting.unit})`),
      );
    case "duration":
      return inRange(scaled(text, DURATION_UNITS), setting, () =>
        wrong(
          `a duration from ${formatDuration(setting.min)} to ${formatDuration(setting.max)}, like 500ms, 5s, 10m or 4h`,
        ),
      );
    case "bytes":
      return inRange(scaled(text, BYTE_UNITS), setting, () =>
        wrong(`a size from ${formatBytes(setting.min)} to ${formatBytes(setting.max)}, like 65536, 64KiB or 1MiB`),
      );
    case "boolean":
      if (!isBooleanText(text)) throw wrong("true or false");
      return text === "true";
    case "choice":
      if (!setting.choices.includes(text)) throw wrong(`one of ${setting.choices.join(", ")}`);
      return text;
    case "list": {
      const items = text.split(",").map((item) => item.trim());
      const named = items.filter((item) => item !== "");
      for (const item of named) {
        const right = setting.check?.(item);
        if (right !== undefined) throw wrong(`a list (separated by commas) of ${right}`);
      }
      return named;
    }
    case "json":
      try {
        return JSON.parse(text) as unknown;
      } catch {
        throw wrong("JSON");
      }
  }
}

const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/;

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const BYTE_UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

function scaled(text: string, units: Readonly<Record<string, number>>): number {
  const match = /^(\d{1,15})\s?([A-Za-z]*)$/.exec(text);
  const factor = match === null ? undefined : (units[match[2] ?? ""] ?? (text === "0" ? 1 : undefined));
  return match === null || factor === undefined ? Number.NaN : Number(match[1]) * factor;
}

function inRange(value: number, range: { min: number; max: number }, wrong: () => ConfigError): number {
  if (!(value >= range.min && value <= range.max)) throw wrong();
  return value;
}

/** Milliseconds as a user would write them. */
export function formatDuration(ms: number): string {
  for (const unit of ["h", "m", "s"]) {
    const factor = DURATION_UNITS[unit] ?? 1;
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return ms === 0 ? "0" : `${ms}ms`;
}

/** Bytes as a user would write them. */
export function formatBytes(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const factor = BYTE_UNITS[unit] ?? 1;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}

/** A value as flags, environment and file would say it: parseValue reads it back. */
export function formatValue(setting: Setting, value: unknown): string {
  switch (setting.kind) {
    case "duration":
      return formatDuration(value as number);
    case "bytes":
      return formatBytes(value as number);
    case "list":
      return (value as readonly string[]).join(",");
    case "json":
      return JSON.stringify(value);
    case "text":
    case "host":
    case "path":
    case "integer":
    case "boolean":
    case "choice":
      return String(value);
  }
}

/** The environment variables that give a process of `reader` every setting of `values` that it reads. */
export function environmentOf(reader: SettingReader, values: Partial<Config>): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of NAMES) {
    const setting: Setting = SETTINGS[name];
    const value = values[name];
    if (value === undefined || !setting.readers.includes(reader)) continue;
    environment[variableOf(name)] = formatValue(setting, value);
  }
  return environment;
}
