// Owns: JSON bodies and frames as the doors read them: core/domain/json-text.ts, with what is wrong thrown as the
// EarshotError that the caller is told.

import { type JsonFields, type JsonRead, readJsonObject, readJsonText } from "../domain/json-text.ts";
import { EarshotError } from "../runtime/errors.ts";

/** One JSON object, read by `read`; fields it does not ask for are refused. Throws invalid_json, invalid_request. */
export function parseJsonObject<T>(bytes: Uint8Array, read: (fields: JsonFields) => T): T {
  return unwrap(readJsonObject(bytes, read));
}

/** One JSON value ready to be spoken: valid, no space around it, no line ends. Throws invalid_request. */
export function parseJsonText(text: string, field: string): string {
  return unwrap(readJsonText(text, field));
}

function unwrap<T>(read: JsonRead<T>): T {
  if (read.ok) return read.value;
  throw new EarshotError(read.code, read.message, read.field === undefined ? {} : { field: read.field });
}
