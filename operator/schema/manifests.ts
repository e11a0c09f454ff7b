// Owns: text to judged documents: every document of a manifest file with the verdict on it, problems with their lines.

import type { TopicPolicy } from "#core/domain/topic.ts";
import { Slices } from "#core/runtime/slices.ts";
import { cutDocuments, readDocument } from "./documents.ts";
import { judgeTopic, type Verdict } from "./judge.ts";

export interface JudgedDocument {
  readonly line: number;
  /** Its problems have their lines. */
  readonly verdict: Verdict;
}

/** Reads and judges a whole file, in slices. `inForce` as for judgeTopic. */
export async function judgeManifests(
  text: string,
  inForce: (key: string) => TopicPolicy | undefined,
): Promise<readonly JudgedDocument[]> {
  const slices = new Slices();
  const judged: JudgedDocument[] = [];
  for (const piece of cutDocuments(text)) {
    const document = readDocument(piece);
    if (slices.isOver) await slices.breathe();
    if (!document.ok) {
      judged.push({ line: piece.line, verdict: { ok: false, key: undefined, problems: [document.problem] } });
      continue;
    }
    const { value, lineOf } = document;
    const line = lineOf([]);
    const verdict = judgeTopic(value, inForce);
    if (verdict.ok) judged.push({ line, verdict });
    else {
      const problems = verdict.problems.map((problem) => ({ ...problem, line: lineOf(problem.path) }));
      judged.push({ line, verdict: { ...verdict, problems } });
    }
  }
  return judged;
}
