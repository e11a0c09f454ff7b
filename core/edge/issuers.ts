// Owns: the setting `issuers`: which further issuers' tokens are taken, and what each may speak for. Parsed once, at
// start; whatever is wrong is one sentence that names the entry and the field.

import { namespaceProblem } from "../domain/topic-id.ts";
import { ConfigError } from "../runtime/config.ts";

export interface IssuerSetting {
  /** The token's `iss`, letter by letter. */
  readonly issuer: string;
  readonly keys: { readonly kind: "jwks"; readonly uri: string } | { readonly kind: "file"; readonly path: string };
  readonly audiences: readonly string[];
  /** Undefined: all. */
  readonly namespaces: readonly string[] | undefined;
}

/** `iss` of tokens signed with the installation's own secret; they may also have none. */
export const OWN_ISSUER = "earshot";

/** Issuers of one installation: each costs a fetch every ten minutes. */
const ISSUERS_MAX = 32;

const FIELDS = ["issuer", "jwksUri", "secretFile", "audiences", "namespaces"];

/** Parses the setting. Throws ConfigError. */
export function parseIssuers(value: unknown, defaultAudience: string): readonly IssuerSetting[] {
  if (!Array.isArray(value)) throw new ConfigError("issuers must be a list of {issuer, jwksUri | secretFile, ...}");
  if (value.length > ISSUERS_MAX) throw new ConfigError(`issuers may list ${ISSUERS_MAX} at most, not ${value.length}`);
  const issuers = value.map((entry: unknown, index) => parseIssuer(`issuers[${index}]`, entry, defaultAudience));
  for (const [index, { issuer }] of issuers.entries()) {
    if (issuers.findIndex((other) => other.issuer === issuer) !== index) {
      throw new ConfigError(`issuers[${index}].issuer names ${issuer} again; each issuer is listed once`);
    }
  }
  return issuers;
}

function parseIssuer(where: string, entry: unknown, defaultAudience: string): IssuerSetting {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw new ConfigError(`${where} must be {issuer, jwksUri | secretFile, audiences, namespaces}`);
  }
  for (const key of Object.keys(entry)) {
    if (!FIELDS.includes(key)) throw new ConfigError(`${where}.${key} is not known; these are: ${FIELDS.join(", ")}`);
  }
  const fields = entry as Readonly<Record<string, unknown>>;
  const issuer = textOf(`${where}.issuer`, fields["issuer"]);
  if (issuer === OWN_ISSUER) {
    throw new ConfigError(`${where}.issuer must not be ${OWN_ISSUER}: that is the installation's own secret`);
  }
  const namespaces = listOf(`${where}.namespaces`, fields["namespaces"]);
  for (const [index, namespace] of namespaces?.entries() ?? []) {
    const problem = namespaceProblem(namespace);
    if (problem !== undefined) throw new ConfigError(`${where}.namespaces[${index}]: ${problem}`);
  }
  const audiences = listOf(`${where}.audiences`, fields["audiences"]) ?? [defaultAudience];
  return { issuer, keys: parseKeys(where, fields), audiences, namespaces };
}

function parseKeys(where: string, fields: Readonly<Record<string, unknown>>): IssuerSetting["keys"] {
  const { jwksUri, secretFile } = fields;
  if ((jwksUri === undefined) === (secretFile === undefined)) {
    throw new ConfigError(`${where} must have exactly one of jwksUri and secretFile`);
  }
  if (secretFile !== undefined) return { kind: "file", path: textOf(`${where}.secretFile`, secretFile) };
  const uri = textOf(`${where}.jwksUri`, jwksUri);
  if (!isTrustworthy(uri)) {
    throw new ConfigError(
      `${where}.jwksUri must be an https address (http only on this machine or inside the cluster)`,
    );
  }
  return { kind: "jwks", uri };
}

/** Whoever can change the answer can make tokens, so it must not travel in the open. */
function isTrustworthy(uri: string): boolean {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url === undefined || url.username !== "" || url.password !== "") return false;
  if (url.protocol === "https:") return true;
  return (
    url.protocol === "http:" && /^(localhost|127(\.\d+){3}|\[::1\]|.+\.svc(\.cluster\.local)?)$/.test(url.hostname)
  );
}

function textOf(where: string, value: unknown): string {
  if (typeof value !== "string" || value === "") throw new ConfigError(`${where} must be a text that is not empty`);
  return value;
}

function listOf(where: string, value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length === 0)
    throw new ConfigError(`${where} must be a list with an entry at least`);
  return value.map((item: unknown, index) => textOf(`${where}[${index}]`, item));
}
