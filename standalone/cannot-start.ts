// Owns: what ends `npm start` before it began: one sentence for the user, naming the setting, and the exit code.

/** Exit code where a setting is wrong, and where the machine is (a busy port, a folder that cannot be written). */
export const EXIT_WRONG_SETTING = 2;
export const EXIT_CANNOT_START = 1;

export class CannotStart extends Error {
  override readonly name = "CannotStart";
  readonly exitCode: number;

  constructor(sentence: string, exitCode: number = EXIT_CANNOT_START) {
    super(sentence);
    this.exitCode = exitCode;
  }
}
