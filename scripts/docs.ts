// Owns: the generated pages: docs/config.md (settings and fixed limits) and docs/errors.md (codes, reasons, closes), from
// the tables in the code; the chart's dashboard (dashboard.ts); with docs/metrics.md, which needs running processes
// (metrics-page.ts). `npm run docs` writes them;
// test/contract/docs.test.ts checks that they are fresh.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { CLOSES, type CloseEntry } from "#core/domain/closes.ts";
import { CODES, type CodeEntry, DROP_REASONS, GAP_REASONS, UNSUBSCRIBE_REASONS } from "#core/domain/codes.ts";
import * as limits from "#core/domain/limits.ts";
import { flagOf, formatValue, variableOf } from "#core/runtime/config.ts";
import { SETTINGS, type Setting, type SettingName } from "#core/runtime/settings.ts";
import { STANDALONE_DEFAULTS } from "../standalone/prepare.ts";
import { dashboardJson } from "./dashboard.ts";

const ROOT = join(import.meta.dirname, "..");

/** Every generated page by its path from the root. */
export function pages(): Record<string, string> {
  return {
    "docs/config.md": configPage(),
    "docs/errors.md": errorsPage(),
    "charts/earshot/files/dashboard.json": dashboardJson(),
  };
}

function configPage(): string {
  return `# Settings and limits

Generated from core/runtime/settings.ts and core/domain/limits.ts by \`npm run docs\`.

Each setting is a flag (\`npm start -- --port 9000\`), an environment variable (\`EARSHOT_PORT=9000\`), or a line of the YAML
file that \`--config\` (\`EARSHOT_CONFIG\`) names (\`port: 9000\`). A flag wins over the environment, the environment over the
file. Durations are written like \`500ms\`, \`5s\`, \`10m\`, \`4h\`; sizes like \`65536\`, \`64KiB\`, \`1MiB\`; lists with commas. What
cannot be used is one sentence that names the setting, and exit code 2.

## Settings

| setting | variable | values | default | read by | meaning |
|---|---|---|---|---|---|
${(Object.keys(SETTINGS) as SettingName[]).map(settingRow).join("\n")}

## Fixed limits

Nobody can set these; each has its reason. Where a setting has the same default, the setting counts.

| limit | value | reason |
|---|---|---|
${limitRows().join("\n")}
`;
}

function settingRow(name: SettingName): string {
  const setting: Setting = SETTINGS[name];
  const usual = formatValue(setting, setting.default);
  const own: unknown = Reflect.get(STANDALONE_DEFAULTS, name);
  const standalone = own === undefined ? "" : ` (standalone: \`${formatValue(setting, own)}\`)`;
  const cells = [
    `\`${flagOf(name)}\``,
    `\`${variableOf(name)}\``,
    valuesOf(setting),
    (usual === "" ? "none" : `\`${usual}\``) + standalone,
    setting.readers.join(", "),
    setting.meaning,
  ];
  return row(cells);
}

function valuesOf(setting: Setting): string {
  switch (setting.kind) {
    case "integer":
      return `${setting.min} to ${setting.max}${setting.unit === "port" ? "" : ` ${setting.unit}`}`;
    case "duration":
    case "bytes":
      return `${formatValue(setting, setting.min)} to ${formatValue(setting, setting.max)}`;
    case "boolean":
      return "`true`, `false`";
    case "choice":
      return setting.choices.map((choice) => `\`${choice}\``).join(", ");
    case "text":
    case "host":
    case "path":
    case "list":
    case "json":
      return setting.kind === "json" ? "JSON" : setting.kind;
  }
}

/** A limit's docstring is its reason; some stand together below one. */
function limitRows(): string[] {
  const source = readFileSync(join(ROOT, "core/domain/limits.ts"), "utf8");
  const values = limits as Readonly<Record<string, number>>;
  const rows: string[] = [];
  for (const match of source.matchAll(/\/\*\*\s+(?:\* )?((?:(?!\*\/)[^])*?)\s*\*\/\n((?:export const \w+ = .*\n)+)/g)) {
    const reason = (match[1] ?? "").replaceAll(/\n \* /g, " ");
    for (const [, name = ""] of (match[2] ?? "").matchAll(/export const (\w+)/g)) {
      rows.push(row([`\`${name}\``, (values[name] ?? 0).toLocaleString("en"), reason]));
    }
  }
  return rows;
}

function errorsPage(): string {
  return `# Errors, reasons and close codes

Generated from core/domain/codes.ts and core/domain/closes.ts by \`npm run docs\`. Codes are stable: they are never renamed.

Over HTTP an error is a problem document (RFC 9457) with the fields \`type\`, \`title\`, \`status\`, \`detail\`, \`code\`,
\`retryable\` and, where one is to blame, \`field\`. Over gRPC it is the call's status; the metadata key \`earshot-code\` holds
the code. Over WebSocket and SSE it is a frame of type \`error\`.

**retryable** always means: the very same request may be repeated without a second effect.

## Codes

| code | HTTP | gRPC | closes with | retryable | meaning |
|---|---|---|---|---|---|
${Object.entries<CodeEntry>(CODES)
  .map(([code, { http, grpc, close, retryable, meaning }]) =>
    row([
      anchored(code),
      String(http),
      String(grpc),
      close === undefined ? "" : String(close),
      retryable ? "yes" : "no",
      meaning,
    ]),
  )
  .join("\n")}

## WebSocket close codes

| close | meaning | come back? |
|---|---|---|
${Object.entries<CloseEntry>(CLOSES)
  .map(([close, { meaning, comeBack }]) => row([close, meaning, COME_BACK[comeBack]]))
  .join("\n")}

## Why a subscription ended (\`unsubscribed\`)

${reasonTable(UNSUBSCRIBE_REASONS)}

## Why messages were missed (\`gap\`)

${reasonTable(GAP_REASONS)}

## Why a publish was handed to nobody (\`dropped\`)

${reasonTable(DROP_REASONS)}
`;
}

const COME_BACK: Readonly<Record<CloseEntry["comeBack"], string>> = {
  after_delay: "after the `delay_ms` of the `reconnect` frame before it, else after your own jittered backoff",
  with_new_token: "with a new token",
  yes: "yes, after a jittered backoff",
  no: "no: the same would happen again",
};

function reasonTable(reasons: Readonly<Record<string, string>>): string {
  const rows = Object.entries(reasons).map(([reason, meaning]) => row([`\`${reason}\``, meaning]));
  return ["| reason | meaning |", "|---|---|", ...rows].join("\n");
}

/** The `type` of a problem document ends in the code's anchor. */
function anchored(code: string): string {
  return `<a id="${code}"></a>\`${code}\``;
}

/** Angle brackets of a text (`<namespace>`) are no markup; our anchors are. */
function row(cells: readonly string[]): string {
  const safe = cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll(/<(?!a id=|\/a>)/g, "&lt;"));
  return `| ${safe.join(" | ")} |`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [path, text] of Object.entries(pages())) writeFileSync(join(ROOT, path), text);
  // Starts processes of every kind.
  const { metricsPage, scrapeEveryKind } = await import("./metrics-page.ts");
  writeFileSync(join(ROOT, "docs/metrics.md"), metricsPage(await scrapeEveryKind()));
  process.exit(0);
}
