// Owns: Topic manifests of tests, from a topic id and the text of a spec.

/** `manifest("shop.room", "permissions: Public, presence: Members")`. */
export function manifest(topicId: string, spec: string): string {
  const [namespace, name] = topicId.split(".");
  return `---
apiVersion: earshot.dev/v1alpha1
kind: Topic
metadata: {namespace: ${namespace}, name: ${name}}
spec: {${spec}}
`;
}
