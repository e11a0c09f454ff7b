// Owns: the one error class for operating errors, each with a code of core/domain/codes.ts. A bug is an assert and ends
// the process; what is expected on a hot path is a return value; everything in between is an EarshotError.

import { CODES, type Code } from "../domain/codes.ts";

export interface EarshotErrorOptions extends ErrorOptions {
  /** Where in the request it is wrong, as a path: `payload`, `messages[3].topic_id`. */
  readonly field?: string;
}

export class EarshotError extends Error {
  override readonly name = "EarshotError";
  readonly code: Code;
  /** See EarshotErrorOptions; undefined where no single field is to blame. */
  readonly field: string | undefined;

  /** `message` is for the user who made the mistake: it names the field and says what would be right. */
  constructor(code: Code, message?: string, options?: EarshotErrorOptions) {
    super(message ?? CODES[code].meaning, options);
    this.code = code;
    this.field = options?.field;
  }

  /** Whether the very same request may be sent again without a second effect. */
  get retryable(): boolean {
    return CODES[this.code].retryable;
  }
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
