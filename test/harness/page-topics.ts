// Owns: the Topics of the page's tests: the shipped demo, and those on which the page looks different.

import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");

const OTHERS = `
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {name: counted}
spec: {permissions: Public, presence: Count}
---
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {name: private}
spec: {permissions: Private, presence: Members, subscribers: [{kind: User, name: alice}], publishers: [{kind: User, name: alice}]}
`;

/** Makes a folder of manifests; whoever asks removes it. */
export function pageTopics(): string {
  const folder = mkdtempSync(join(tmpdir(), "earshot-page-"));
  mkdirSync(join(folder, "topics"));
  cpSync(join(ROOT, "topics", "demo.yaml"), join(folder, "topics", "demo.yaml"));
  writeFileSync(join(folder, "topics", "others.yaml"), OTHERS);
  return folder;
}
