// Owns: values.schema.json: which values of the chart are possible. Every object is closed, so that a misspelt value is
// told and not ignored; only what belongs to Kubernetes (nodeSelector, affinity...) is left to the API server. The settings
// below `config` come from the table of settings; descriptions come from the comments of values.yaml (chart-values.ts).

import { SETTINGS, type Setting } from "#core/runtime/settings.ts";

export interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly [keyword: string]: unknown;
}

/** Settings that the chart gives itself, or that have a value of their own elsewhere. */
const SET_BY_CHART = new Set(
  `host port grpcPort portSharing state secret issuers audience anonymous httpTopicsNamespace httpTopicsCreate httpTopicsMax
   drain redisUrl redisMode redisSentinelMaster redisSentinelPassword redisUsername redisPassword redisPasswordFile
   redisCaFile redisPrefix name node zone peers peerTokenFile peerAudience tlsFolder publicTlsFolder peerSecret internalHost
   internalPort probesPort store release namespace watchNamespaces tlsAuthority serviceAccountTokens presenceStore topics`
    .trim()
    .split(/\s+/),
);

const IN_CLUSTER = new Set(["operator", "router", "gateway"]);

/** Settings that `config` may hold, by name. */
export function configurable(): [string, Setting][] {
  return Object.entries<Setting>(SETTINGS).filter(
    ([name, { readers }]) => !SET_BY_CHART.has(name) && readers.some((reader) => IN_CLUSTER.has(reader)),
  );
}

const BOOLEAN: Schema = { type: "boolean" };
const TEXT: Schema = { type: "string" };
const NAME_PATTERN = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
const NAMESPACE: Schema = { type: "string", pattern: `^${NAME_PATTERN}$` };
const NAME_OR_NONE: Schema = { type: "string", pattern: `^(${NAME_PATTERN}(\\.${NAME_PATTERN})*)?$`, maxLength: 253 };
const NAMESPACE_OR_NONE: Schema = { type: "string", pattern: `^(${NAME_PATTERN})?$` };
const SECRET_KEY: Schema = { type: "string", pattern: "^[-._a-zA-Z0-9]+$", maxLength: 253 };
const SECRET_KEY_OR_NONE: Schema = { type: "string", pattern: "^[-._a-zA-Z0-9]*$", maxLength: 253 };
const PORT: Schema = { type: "integer", minimum: 1, maximum: 65535 };
const PERCENTAGE: Schema = { type: "integer", minimum: 10, maximum: 95 };
const TEXTS: Schema = { type: "array", items: TEXT };
const TEXT_MAP: Schema = { type: "object", additionalProperties: TEXT };
const PULL_POLICY: Schema = oneOf("Always", "IfNotPresent", "Never");
const COUNT_OR_PERCENTAGE: Schema = { type: ["integer", "string"], minimum: 0, pattern: "^\\d{1,3}%$" };
/** Kubernetes' own: the API server judges it. */
const FOREIGN_OBJECT: Schema = { type: "object", additionalProperties: true };
const FOREIGN_LIST: Schema = { type: "array", items: FOREIGN_OBJECT };

function oneOf(...values: readonly string[]): Schema {
  return { type: "string", enum: values };
}

function object(properties: Readonly<Record<string, Schema>>, more: object = {}): Schema {
  return { type: "object", additionalProperties: false, properties, ...more };
}

function seconds(maximum: number): Schema {
  return { type: "integer", minimum: 0, maximum };
}

const QUANTITIES: Schema = { type: "object", additionalProperties: { type: ["string", "number"] } };
const RESOURCES = object({ requests: QUANTITIES, limits: QUANTITIES, claims: FOREIGN_LIST });

function component(more: Readonly<Record<string, Schema>> = {}): Schema {
  return object({
    replicas: { type: "integer", minimum: 0, maximum: 10_000 },
    heapPercentage: PERCENTAGE,
    resources: RESOURCES,
    drainSeconds: seconds(3_600),
    preStopSeconds: seconds(600),
    terminationGracePeriodSeconds: seconds(7_200),
    minReadySeconds: seconds(3_600),
    podDisruptionBudget: object({ enabled: BOOLEAN, maxUnavailable: COUNT_OR_PERCENTAGE }),
    serviceAccountAnnotations: TEXT_MAP,
    podAnnotations: TEXT_MAP,
    podLabels: TEXT_MAP,
    priorityClassName: NAME_OR_NONE,
    nodeSelector: TEXT_MAP,
    tolerations: FOREIGN_LIST,
    affinity: FOREIGN_OBJECT,
    topologySpreadConstraints: FOREIGN_LIST,
    extraEnv: { type: "array", items: { ...FOREIGN_OBJECT, required: ["name"], properties: { name: TEXT } } },
    ...more,
  });
}

const AUTOSCALING = object({
  enabled: BOOLEAN,
  minReplicas: { type: "integer", minimum: 1, maximum: 10_000 },
  maxReplicas: { type: "integer", minimum: 1, maximum: 10_000 },
  targetCPU: { type: "string", pattern: "^(\\d+m|\\d+(\\.\\d+)?)?$" },
  metrics: FOREIGN_LIST,
  scaleDownStabilizationSeconds: seconds(3_600),
});

const ISSUER = object(
  {
    issuer: { type: "string", minLength: 1 },
    jwksUri: { type: "string", pattern: "^https?://" },
    existingSecret: NAME_OR_NONE,
    key: SECRET_KEY,
    audiences: TEXTS,
    namespaces: { type: "array", items: NAMESPACE },
  },
  {
    required: ["issuer"],
    oneOf: [{ required: ["jwksUri"] }, { required: ["existingSecret"] }],
  },
);

const TLS_SECRETS = object({ operator: NAME_OR_NONE, router: NAME_OR_NONE, gateway: NAME_OR_NONE });

const GATEWAY = component({
  maxSurge: COUNT_OR_PERCENTAGE,
  autoscaling: AUTOSCALING,
  service: object({
    type: oneOf("ClusterIP", "NodePort", "LoadBalancer"),
    annotations: TEXT_MAP,
    port: PORT,
    grpcPort: PORT,
    loadBalancerClass: TEXT,
    loadBalancerSourceRanges: TEXTS,
    externalTrafficPolicy: oneOf("", "Cluster", "Local"),
  }),
  ingress: object({ enabled: BOOLEAN, className: TEXT, annotations: TEXT_MAP, hosts: TEXTS, tls: FOREIGN_LIST }),
  httpRoute: object({ enabled: BOOLEAN, annotations: TEXT_MAP, parentRefs: FOREIGN_LIST, hostnames: TEXTS }),
});

const REDIS = object({
  url: { type: "string", pattern: "^(rediss?://[^,]+(,rediss?://[^,]+)*)?$" },
  existingSecret: NAME_OR_NONE,
  urlKey: SECRET_KEY_OR_NONE,
  passwordKey: SECRET_KEY_OR_NONE,
  sentinelPasswordKey: SECRET_KEY_OR_NONE,
  mode: oneOf("Single", "Sentinel", "Cluster"),
  sentinelMaster: TEXT,
  username: TEXT,
  prefix: { type: "string", pattern: "^[A-Za-z0-9_.:-]{0,64}$" },
  ca: object({ existingSecret: NAME_OR_NONE, key: SECRET_KEY }),
  inChart: object({
    enabled: BOOLEAN,
    image: object({ repository: { type: "string", minLength: 1 }, tag: TEXT, pullPolicy: PULL_POLICY }),
    maxMemory: { type: "string", pattern: "^\\d+(kb|mb|gb)$" },
    command: TEXTS,
    resources: RESOURCES,
  }),
});

/** The schema of values.yaml, without descriptions. */
export function valuesSchema(): Schema {
  return object({
    // Helm puts it there when this chart is part of another one.
    global: FOREIGN_OBJECT,
    nameOverride: { type: "string", pattern: `^(${NAME_PATTERN})?$` },
    fullnameOverride: { type: "string", pattern: "^([a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?)?$" },
    clusterDomain: { type: "string", pattern: `^${NAME_PATTERN}(\\.${NAME_PATTERN})*$` },
    bindAddress: { type: "string", enum: ["0.0.0.0", "::"] },
    commonLabels: TEXT_MAP,
    image: object({
      repository: { type: "string", minLength: 1 },
      tag: { type: "string", pattern: "^[A-Za-z0-9_.-]{0,128}$" },
      digest: { type: "string", pattern: "^(sha256:[0-9a-f]{64})?$" },
      pullPolicy: PULL_POLICY,
      pullSecrets: { type: "array", items: object({ name: NAME_OR_NONE }, { required: ["name"] }) },
    }),
    config: object(Object.fromEntries(configurable().map(([name, setting]) => [name, settingSchema(setting)]))),
    auth: object({
      anonymous: BOOLEAN,
      audience: { type: "string", minLength: 1 },
      serviceAccountTokens: BOOLEAN,
      secret: object({ existingSecret: NAME_OR_NONE, key: SECRET_KEY }),
      issuers: { type: "array", items: ISSUER },
    }),
    httpTopics: object({
      namespace: NAMESPACE_OR_NONE,
      create: { type: "string", enum: choicesOf(SETTINGS.httpTopicsCreate) },
      max: rangeOf(SETTINGS.httpTopicsMax),
    }),
    watch: object({ namespaces: { type: "array", items: NAMESPACE, uniqueItems: true } }),
    crds: object({ enabled: BOOLEAN, keep: BOOLEAN }),
    rbac: object({ create: BOOLEAN, aggregate: BOOLEAN }),
    tls: object({ existingSecrets: TLS_SECRETS }),
    publish: object({
      tls: object({ secretName: NAME_OR_NONE }),
      service: object({ annotations: TEXT_MAP }),
    }),
    operator: component(),
    router: component({ autoscaling: AUTOSCALING }),
    gateway: GATEWAY,
    redis: REDIS,
    networkPolicy: object({
      enabled: BOOLEAN,
      metricsFrom: FOREIGN_LIST,
      publishersFrom: FOREIGN_LIST,
      clientsFrom: FOREIGN_LIST,
    }),
    canary: object({
      enabled: BOOLEAN,
      topicId: { type: "string", maxLength: 382 },
      serverName: { type: "string", maxLength: 253 },
      intervalMilliseconds: { type: "integer", minimum: 100, maximum: 60_000 },
      resources: RESOURCES,
    }),
    monitoring: object({
      serviceMonitor: object({ enabled: BOOLEAN, labels: TEXT_MAP, intervalSeconds: { type: "integer", minimum: 1 } }),
      prometheusRule: object({ enabled: BOOLEAN, labels: TEXT_MAP }),
      dashboard: object({ enabled: BOOLEAN, labels: TEXT_MAP, annotations: TEXT_MAP }),
    }),
  });
}

function choicesOf({ choices }: { readonly choices: readonly string[] }): readonly string[] {
  return choices;
}

function rangeOf({ min, max }: { readonly min: number; readonly max: number }): Schema {
  return { type: "integer", minimum: min, maximum: max };
}

/** What core/runtime/config.ts would take, as far as a schema can say it: the process says the rest when it starts. */
function settingSchema(setting: Setting): Schema {
  const { meaning: description } = setting;
  switch (setting.kind) {
    case "text":
    case "host":
    case "path":
      return { ...TEXT, description };
    case "integer":
      return { ...rangeOf(setting), description };
    case "duration":
      return { type: "string", pattern: "^(0|\\d{1,15} ?(ms|s|m|h))$", description };
    case "bytes":
      return {
        type: ["integer", "string"],
        minimum: setting.min,
        maximum: setting.max,
        pattern: "^\\d{1,15} ?(B|KiB|MiB|GiB)?$",
        description,
      };
    case "boolean":
      return { ...BOOLEAN, description };
    case "choice":
      return { type: "string", enum: setting.choices, description };
    case "list":
      return { ...TEXTS, description };
    case "json":
      return { type: ["array", "object"], description };
  }
}
