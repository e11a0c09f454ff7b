// Owns: pino, and what a log line looks like: one constant sentence an event, everything that varies in fields, never a
// token or a payload. Lines go to standard output as JSON (the supervisor's, whose terminal is its user's, to a file).
// Elsewhere: what becomes of a line that cannot be written (log-output.ts).

import { openSync } from "node:fs";
import { type Logger, type LoggerOptions, pino, stdTimeFunctions } from "pino";
import { LogOutput } from "./log-output.ts";

export type Log = Logger;

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const STANDARD_OUTPUT = 1;

/**
 * Makes the root log of a process. `fields` stand on every line (role, name, incarnation); `file`, where given, is
 * appended to instead of standard output.
 */
export function createLog(level: LogLevel, fields: Record<string, string>, file?: string): Log {
  const options: LoggerOptions = {
    level,
    base: fields,
    messageKey: "message",
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: {
      error: (error: unknown) =>
        error instanceof Error ? { name: error.name, message: error.message, stack: error.stack } : String(error),
    },
  };
  return pino(options, new LogOutput(file === undefined ? STANDARD_OUTPUT : openSync(file, "a"), fields));
}
