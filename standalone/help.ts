// Owns: what `npm start -- --help` prints, from the table of settings.

import { flagOf, formatValue, variableOf } from "#core/runtime/config.ts";
import { SETTINGS, type Setting, type SettingName } from "#core/runtime/settings.ts";
import { STANDALONE_DEFAULTS } from "./prepare.ts";

const WIDTH = 100;
const INDENT = " ".repeat(6);

export function helpText(): string {
  const lines = [
    "Earshot, all of it on this machine: operator, routers, gateways and presence behind one port.",
    "",
    "npm start -- [--setting value]...",
    "npm run token -- <user> [--group G] [--subscribe P] [--publish P] [--manage P] [--ttl 1h]",
    "",
    "Each setting is a flag, an environment variable, or a line of the YAML file that --config",
    "(EARSHOT_CONFIG) names. A flag wins over the environment, the environment over the file.",
    "",
  ];
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    const setting: Setting = SETTINGS[name];
    if (!setting.readers.includes("standalone")) continue;
    lines.push(`  ${flagOf(name)}  ${variableOf(name)}  ${valuesOf(name, setting)}`);
    lines.push(...wrap(setting.meaning));
  }
  lines.push("", "All of them, with their ranges: docs/config.md", "");
  return lines.join("\n");
}

function valuesOf(name: SettingName, setting: Setting): string {
  const value: unknown = name in STANDALONE_DEFAULTS ? Reflect.get(STANDALONE_DEFAULTS, name) : setting.default;
  const shown = formatValue(setting, value);
  const usual = shown === "" ? "" : ` [${shown}]`;
  return setting.kind === "choice" ? `${setting.choices.join("|")}${usual}` : `${setting.kind}${usual}`;
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = INDENT;
  for (const word of text.split(" ")) {
    if (line.length + word.length > WIDTH) {
      lines.push(line.trimEnd());
      line = INDENT;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()];
}
