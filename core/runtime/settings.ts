// Owns: the one table of settings: name, meaning, kind with unit and range, default, which processes read it. Flags,
// environment variables and the settings file are the same names in other spellings (config.ts); docs/config.md and
// `--help` are printed from here. Fixed limits that nobody may change are in core/domain/limits.ts.

import { isIP } from "node:net";
import {
  CONNECTION_UNSENT_BYTES_MAX,
  CONNECTIONS_PER_GATEWAY_MAX,
  CONTROL_MESSAGES_BURST,
  CONTROL_MESSAGES_PER_SECOND,
  HOT_ON_SUBSCRIPTIONS,
  MESSAGE_BYTES_MAX,
  PING_INTERVAL_MS,
  SUBSCRIPTIONS_PER_CONNECTION_MAX,
} from "../domain/limits.ts";
import { namespaceProblem, parseTopicId } from "../domain/topic-id.ts";
import { LOG_LEVELS } from "./log.ts";
import { redisUrlProblem } from "./redis-url.ts";

/** Which processes read a setting. `standalone` is the supervisor behind `npm start`. */
export type SettingReader = "standalone" | "operator" | "router" | "gateway" | "presence" | "canary";

/** What would be right, where a text or an item of a list is not; undefined where it is. */
export type Check = (text: string) => string | undefined;

interface Common {
  readonly meaning: string;
  readonly readers: readonly SettingReader[];
  /** Never printed or logged. */
  readonly secret?: true;
}

export type Setting = Common &
  (
    | { readonly kind: "text"; readonly default: string; readonly check?: Check }
    | { readonly kind: "host"; readonly default: string }
    | { readonly kind: "path"; readonly default: string }
    | {
        readonly kind: "integer";
        readonly default: number;
        readonly min: number;
        readonly max: number;
        readonly unit: string;
      }
    | { readonly kind: "duration"; readonly default: number; readonly min: number; readonly max: number }
    | { readonly kind: "bytes"; readonly default: number; readonly min: number; readonly max: number }
    | { readonly kind: "boolean"; readonly default: boolean }
    | { readonly kind: "choice"; readonly default: string; readonly choices: readonly string[] }
    | { readonly kind: "list"; readonly default: readonly string[]; readonly check?: Check }
    | { readonly kind: "json"; readonly default: unknown }
  );

function namespaceOrNone(text: string): string | undefined {
  return text === "" ? undefined : namespaceProblem(text) && "a namespace (a-z 0-9 -, at most 63 characters), or empty";
}

/** RFC 6454: scheme, host, port; a browser sends no path, so one in the list would never match. */
function originOrStar(text: string): string | undefined {
  if (text === "*" || text === "null") return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && url.origin === text.toLowerCase() ? undefined : "* or origins like https://example.com";
}

function addressOrRange(text: string): string | undefined {
  const [address = "", bits, ...rest] = text.split("/");
  const version = isIP(address);
  const widest = version === 4 ? 32 : 128;
  const right = "addresses or ranges like 10.0.0.1 or 10.0.0.0/8";
  if (version === 0 || rest.length > 0) return right;
  if (bits === undefined) return undefined;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= widest ? undefined : right;
}

/** RFC 7518, section 3.2: a key of HS256 is as long as its hash. */
function keyOrNone(text: string): string | undefined {
  return text === "" || Buffer.byteLength(text) >= 32 ? undefined : "32 bytes long at least";
}

/** Braces would be read as a hash tag, which decides on the node of a Cluster. */
function redisPrefixProblem(text: string): string | undefined {
  return /^[A-Za-z0-9_.:-]{1,64}$/.test(text) ? undefined : "1 to 64 characters of A-Z a-z 0-9 _ . : -";
}

function peersPlace(text: string): string | undefined {
  const right = "folder:<path>, or dns:operator=<host>:<port>,router=<host>:<port>";
  return text === "" || /^(folder:.|dns:[^,]+:\d+(,|$))/.test(text) ? undefined : right;
}

function releaseProblem(text: string): string | undefined {
  const right = "a name of Kubernetes (a-z 0-9 -, at most 53 characters)";
  return text === "" || /^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$/.test(text) ? undefined : right;
}

function namespaceItem(text: string): string | undefined {
  return namespaceProblem(text) && "namespaces (a-z 0-9 -, at most 63 characters)";
}

function topicIdOrNone(text: string): string | undefined {
  return text === "" || parseTopicId(text).ok ? undefined : "a topic id, like earshot.canary";
}

function hostAndPort(text: string): string | undefined {
  return text === "" || /^[^\s,]+:\d{1,5}$/.test(text) ? undefined : "host:port, like earshot-publish:8081";
}

const ALL: readonly SettingReader[] = ["standalone", "operator", "router", "gateway", "presence"];
const EDGES: readonly SettingReader[] = ["standalone", "router", "gateway"];
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const MIB = 1024 * 1024;

/** Names are camelCase here: `publicPort` is `--public-port`, `EARSHOT_PUBLIC_PORT`, and `publicPort:` in the file. */
export const SETTINGS = {
  host: {
    kind: "host",
    default: "127.0.0.1",
    readers: EDGES,
    meaning: "Address that the public ports bind. Anything but loopback needs a secret of your own.",
  },
  port: {
    kind: "integer",
    default: 8080,
    min: 0,
    max: 65535,
    unit: "port",
    readers: ["standalone", "gateway"],
    meaning: "Public port of HTTP, SSE and WebSocket; 0 takes any free one.",
  },
  grpcPort: {
    kind: "integer",
    default: 8081,
    min: 0,
    max: 65535,
    unit: "port",
    readers: EDGES,
    meaning: "Public port of gRPC; 0 takes any free one.",
  },
  portSharing: {
    kind: "choice",
    default: "auto",
    choices: ["auto", "reusePort", "handoff"],
    readers: ["standalone", "gateway"],
    meaning:
      "How gateways on one machine share the public ports: the kernel does it (reusePort, Linux), or the supervisor accepts and hands connections over. auto picks what the platform can.",
  },
  topics: {
    kind: "path",
    default: "topics",
    readers: ["standalone", "operator"],
    meaning: "Folder of Topic manifests (YAML), watched.",
  },
  state: {
    kind: "path",
    default: ".earshot",
    readers: ALL,
    meaning: "Folder for what standalone mode keeps: shard map, Topics made over HTTP, its generated secret, logs.",
  },
  secret: {
    kind: "text",
    default: "",
    secret: true,
    check: keyOrNone,
    readers: EDGES,
    meaning:
      "HS256 key of tokens, 32 bytes at least. Empty: standalone mode makes one and keeps it in the state folder.",
  },
  issuers: {
    kind: "json",
    default: [],
    readers: EDGES,
    meaning: "Further token issuers: a JSON list of {issuer, jwksUri | secretFile, audiences, namespaces}.",
  },
  audience: {
    kind: "text",
    default: "earshot",
    readers: EDGES,
    meaning:
      "What a token's `aud` must name, for tokens signed with the secret and for issuers that name no audiences.",
  },
  shutOut: {
    kind: "list",
    default: [],
    readers: EDGES,
    meaning:
      "User ids that are refused at every door, whatever their token says (WebSocket: close 4403). In force from the start of a process.",
  },
  anonymous: {
    kind: "boolean",
    default: false,
    readers: EDGES,
    meaning: "Whether principals without a token count as anyone. Standalone mode turns it on where it is not set.",
  },
  allowedOrigins: {
    kind: "list",
    default: ["*"],
    check: originOrStar,
    readers: ["standalone", "gateway"],
    meaning: "Origins that browsers may come from, for CORS and for the WebSocket Origin check.",
  },
  httpTopicsNamespace: {
    kind: "text",
    default: "",
    check: namespaceOrNone,
    readers: ["standalone", "operator", "router", "gateway"],
    meaning:
      "Namespace of Topics made over HTTP and gRPC; empty turns making them off. Standalone mode sets default where it is not set.",
  },
  httpTopicsCreate: {
    kind: "choice",
    default: "Manage",
    choices: ["Manage", "Authenticated", "Anyone"],
    readers: EDGES,
    meaning:
      "Who may make Topics over HTTP and gRPC: a token with a matching manage capability, any token, or anyone (standalone's own default).",
  },
  httpTopicsMax: {
    kind: "integer",
    default: 10_000,
    min: 0,
    max: 1_000_000,
    unit: "Topics",
    readers: ["standalone", "operator"],
    meaning: "Topics made over HTTP and gRPC that there may be; one more is quota_exceeded.",
  },
  topicMaxMessageBytes: {
    kind: "bytes",
    default: MESSAGE_BYTES_MAX,
    min: 1,
    max: MESSAGE_BYTES_MAX,
    readers: ["standalone", "operator"],
    meaning: "Ceiling of the installation on any Topic's delivery.maxMessageBytes; a Topic above it is Clamped.",
  },
  topicMaxPublishesPerSecond: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: "messages a second",
    readers: ["standalone", "operator"],
    meaning: "Ceiling of the installation on any Topic's limits.maxPublishesPerSecond; 0: none.",
  },
  topicMaxSubscribers: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 100_000_000,
    unit: "subscriptions",
    readers: ["standalone", "operator"],
    meaning: "Ceiling of the installation on any Topic's limits.maxSubscribers; 0: none.",
  },
  topicMaxChannels: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 100_000_000,
    unit: "channels",
    readers: ["standalone", "operator"],
    meaning: "Ceiling of the installation on any Topic's limits.maxChannels; 0: none.",
  },
  routers: {
    kind: "integer",
    default: 2,
    min: 1,
    max: 16,
    unit: "processes",
    readers: ["standalone"],
    meaning: "Router processes of standalone mode.",
  },
  gateways: {
    kind: "integer",
    default: 2,
    min: 1,
    max: 16,
    unit: "processes",
    readers: ["standalone"],
    meaning: "Gateway processes of standalone mode.",
  },
  logLevel: {
    kind: "choice",
    default: "info",
    choices: LOG_LEVELS,
    readers: [...ALL, "canary"],
    meaning: "Least severe log line that is written.",
  },
  drain: {
    kind: "duration",
    default: 5 * SECOND,
    min: 0,
    max: HOUR,
    readers: [...ALL, "canary"],
    meaning: "How long a process that was told to stop may take to hand over before it ends.",
  },
  connectionMaxAge: {
    kind: "duration",
    default: 4 * HOUR,
    min: 0,
    max: 7 * 24 * HOUR,
    readers: ["standalone", "gateway"],
    meaning: "Age at which a client is asked to reconnect, +-25 %, so that scale-out moves somebody; 0: never.",
  },
  pingInterval: {
    kind: "duration",
    default: PING_INTERVAL_MS,
    min: 2 * SECOND,
    max: 10 * MINUTE,
    readers: ["standalone", "gateway"],
    meaning:
      "Time between pings to a WebSocket client, in whole seconds; two in a row without an answer end the connection. SSE streams get comments twice as often. Keep it below the idle timeout of proxies on the way.",
  },
  connectionsMax: {
    kind: "integer",
    default: CONNECTIONS_PER_GATEWAY_MAX,
    min: 1,
    max: 1_000_000,
    unit: "connections",
    readers: ["standalone", "gateway"],
    meaning: "Connections of one gateway process.",
  },
  connectionsPerAddress: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: "connections",
    readers: ["standalone", "gateway"],
    meaning: "Connections of one address at one gateway process (IPv6: of one /64); 0: no such limit.",
  },
  connectionsPerPrincipal: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: "connections",
    readers: ["standalone", "gateway"],
    meaning: "Connections of one user at one gateway process; 0: no such limit.",
  },
  upgradesPerSecond: {
    kind: "integer",
    default: 2_000,
    min: 1,
    max: 1_000_000,
    unit: "connections a second",
    readers: ["standalone", "gateway"],
    meaning: "New WebSocket and SSE connections a second at one gateway process; the burst is twice that.",
  },
  subscriptionsPerConnection: {
    kind: "integer",
    default: SUBSCRIPTIONS_PER_CONNECTION_MAX,
    min: 1,
    max: 10_000,
    unit: "subscriptions",
    readers: ["standalone", "gateway"],
    meaning: "Subscriptions of one connection.",
  },
  unsentBytes: {
    kind: "bytes",
    default: CONNECTION_UNSENT_BYTES_MAX,
    min: 64 * 1024,
    max: 256 * MIB,
    readers: ["standalone", "gateway"],
    meaning: "Bytes a connection may have unsent before its Topic's slowConsumer rule applies.",
  },
  controlMessagesPerSecond: {
    kind: "integer",
    default: CONTROL_MESSAGES_PER_SECOND,
    min: 1,
    max: 1_000_000,
    unit: "messages a second",
    readers: ["standalone", "gateway"],
    meaning: "Inbound control messages of one connection (publish counts).",
  },
  controlMessagesBurst: {
    kind: "integer",
    default: CONTROL_MESSAGES_BURST,
    min: 1,
    max: 1_000_000,
    unit: "messages",
    readers: ["standalone", "gateway"],
    meaning: "Inbound control messages of one connection at once.",
  },
  requestsPerSecondPerPrincipal: {
    kind: "integer",
    default: 1_000,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    readers: EDGES,
    meaning: "HTTP and gRPC calls of one authenticated principal at one edge process; the burst is twice that.",
  },
  requestsPerSecondPerAddress: {
    kind: "integer",
    default: 5_000,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    readers: EDGES,
    meaning: "HTTP and gRPC calls of one address (IPv6: of one /64) at one edge process; the burst is twice that.",
  },
  hotSubscriptions: {
    kind: "integer",
    default: HOT_ON_SUBSCRIPTIONS,
    min: 2,
    max: 10_000_000,
    unit: "subscriptions",
    readers: ["standalone", "operator", "router"],
    meaning: "Subscriptions of one topic id from which its Topic is Hot.",
  },
  trustedProxies: {
    kind: "list",
    default: [],
    check: addressOrRange,
    readers: ["standalone", "gateway"],
    meaning: "Addresses or CIDR ranges of proxies whose X-Forwarded-For is believed for limits per address.",
  },
  redisUrl: {
    kind: "text",
    default: "",
    secret: true,
    check: redisUrlProblem,
    readers: ["standalone", "gateway"],
    meaning:
      "Where presence is kept: redis:// or rediss:// (TLS) with host, port and, if need be, user, password and database; several (Sentinels, nodes of a Cluster) separated by commas. Empty: standalone mode keeps it in memory.",
  },
  redisMode: {
    kind: "choice",
    default: "Single",
    choices: ["Single", "Sentinel", "Cluster"],
    readers: ["standalone", "gateway"],
    meaning: "What redisUrl names: one server (or the one address of several), Sentinels, or nodes of a Redis Cluster.",
  },
  redisSentinelMaster: {
    kind: "text",
    default: "",
    readers: ["standalone", "gateway"],
    meaning: "Name that Sentinels have for the master; needed with redisMode Sentinel.",
  },
  redisSentinelPassword: {
    kind: "text",
    default: "",
    secret: true,
    readers: ["standalone", "gateway"],
    meaning: "Password of the Sentinels themselves, where they have one.",
  },
  redisUsername: {
    kind: "text",
    default: "",
    readers: ["standalone", "gateway"],
    meaning: "User at Redis (ACL), where it is not in redisUrl; empty: its default user.",
  },
  redisPassword: {
    kind: "text",
    default: "",
    secret: true,
    readers: ["standalone", "gateway"],
    meaning: "Password at Redis, where it is not in redisUrl.",
  },
  redisPasswordFile: {
    kind: "text",
    default: "",
    readers: ["standalone", "gateway"],
    meaning: "Path of a file with the password at Redis, as a mounted Secret; read when a gateway starts.",
  },
  redisCaFile: {
    kind: "text",
    default: "",
    readers: ["standalone", "gateway"],
    meaning: "Path of the PEM certificates that Redis' own is checked with (rediss://); empty: what Node.js trusts.",
  },
  redisPrefix: {
    kind: "text",
    default: "earshot",
    check: redisPrefixProblem,
    readers: ["standalone", "gateway"],
    meaning: "Begins every key in Redis; installations that share one need different ones.",
  },
  name: {
    kind: "text",
    default: "",
    readers: ["operator", "router", "gateway", "presence", "canary"],
    meaning: "Name of the place a process runs in: its pod or slot. Set by whoever starts it.",
  },
  node: {
    kind: "text",
    default: "",
    readers: ["router", "gateway"],
    meaning: "Node (machine) the process runs on; a shard's routers are kept on different ones.",
  },
  zone: { kind: "text", default: "", readers: ["router", "gateway"], meaning: "Zone of that node." },
  peers: {
    kind: "text",
    default: "",
    check: peersPlace,
    readers: ["operator", "router", "gateway", "presence"],
    meaning:
      "Where processes find each other: folder:<path> of endpoint files, one a process; or, in Kubernetes, dns:operator=<host>:<port>,router=<host>:<port> with the names of headless Services.",
  },
  peerTokenFile: {
    kind: "text",
    default: "",
    readers: ["operator", "router", "gateway"],
    meaning:
      "Path of the ServiceAccount token (a projected volume, read again when it changes) by which a process proves itself to others of its installation, in the place of peerSecret.",
  },
  peerAudience: {
    kind: "text",
    default: "",
    readers: ["operator", "router", "gateway"],
    meaning: "Audience that these tokens must have: one of this installation alone.",
  },
  tlsFolder: {
    kind: "text",
    default: "",
    readers: ["operator", "router", "gateway"],
    meaning:
      "Folder of tls.crt, tls.key and ca.crt (a mounted Secret, read again when it changes) for TLS between processes; empty: none.",
  },
  publicTlsFolder: {
    kind: "text",
    default: "",
    readers: ["router", "gateway"],
    meaning:
      "Folder of tls.crt and tls.key (a mounted Secret, read again when it changes) for TLS at the public gRPC port; empty: none.",
  },
  peerSecret: {
    kind: "text",
    default: "",
    secret: true,
    readers: ["operator", "router", "gateway", "presence"],
    meaning: "What processes of one installation show each other. Made anew by every start of standalone mode.",
  },
  internalHost: {
    kind: "host",
    default: "127.0.0.1",
    readers: ["operator", "router", "gateway", "presence", "canary"],
    meaning: "Address that the ports between processes bind.",
  },
  internalPort: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 65535,
    unit: "port",
    readers: ["operator", "router"],
    meaning: "Port of the gRPC between processes; 0 takes any free one.",
  },
  probesPort: {
    kind: "integer",
    default: 0,
    min: 0,
    max: 65535,
    unit: "port",
    readers: ["operator", "router", "gateway", "canary"],
    meaning: "Port of /healthz, /readyz and /metrics; 0 takes any free one.",
  },
  store: {
    kind: "choice",
    default: "Folder",
    choices: ["Folder", "Kubernetes"],
    readers: ["operator"],
    meaning:
      "Where Topics and the shard map are kept: in folders of this machine, or as objects of the Kubernetes API.",
  },
  release: {
    kind: "text",
    default: "",
    check: releaseProblem,
    readers: ["operator", "router", "gateway"],
    meaning:
      "Name of the installation in Kubernetes. What the operator makes is called so, and its processes are <release>-operator, <release>-router and <release>-gateway (Deployments, Services and ServiceAccounts alike).",
  },
  namespace: {
    kind: "text",
    default: "",
    check: namespaceOrNone,
    readers: ["operator", "router", "gateway"],
    meaning: "Namespace of the installation in Kubernetes.",
  },
  watchNamespaces: {
    kind: "list",
    default: [],
    check: namespaceItem,
    readers: ["operator"],
    meaning: "Namespaces whose Topics this installation carries; empty: all.",
  },
  tlsAuthority: {
    kind: "boolean",
    default: false,
    readers: ["operator"],
    meaning:
      "Whether the operator makes a certificate authority and a certificate for each component (Secrets), and renews them. False: tlsFolder holds what somebody else made.",
  },
  serviceAccountTokens: {
    kind: "boolean",
    default: true,
    readers: ["operator"],
    meaning: "Whether tokens of Kubernetes ServiceAccounts (of the setting audience) are taken at every door.",
  },
  presenceStore: {
    kind: "choice",
    default: "Auto",
    choices: ["Auto", "None"],
    readers: ["operator", "gateway"],
    meaning:
      "None: this installation keeps no lists of members (no Redis), and says so in the status of Topics that ask for them.",
  },
  canaryTopic: {
    kind: "text",
    default: "",
    check: topicIdOrNone,
    readers: ["canary"],
    meaning: "Topic id that the canary speaks and listens on; it must be allowed to do both.",
  },
  canaryPublish: {
    kind: "text",
    default: "",
    check: hostAndPort,
    readers: ["canary"],
    meaning: "Where the canary publishes: host:port of PublisherService, at the routers.",
  },
  canarySubscribe: {
    kind: "text",
    default: "",
    check: hostAndPort,
    readers: ["canary"],
    meaning: "Where the canary listens: host:port of SubscriberService, at the gateways.",
  },
  canaryTokenFile: {
    kind: "text",
    default: "",
    readers: ["canary"],
    meaning:
      "Path of the canary's token (a projected ServiceAccount token, read again when it changes); empty: it shows none.",
  },
  canaryCaFile: {
    kind: "text",
    default: "",
    readers: ["canary"],
    meaning:
      "Path of the PEM certificates that those of the public gRPC ports are checked with (a mounted Secret, read again when it changes); empty: the canary speaks without TLS.",
  },
  canaryServerName: {
    kind: "text",
    default: "",
    readers: ["canary"],
    meaning: "Name that these certificates must have; empty: the host of canaryPublish and canarySubscribe.",
  },
  canaryInterval: {
    kind: "duration",
    default: SECOND,
    min: 100,
    max: MINUTE,
    readers: ["canary"],
    meaning: "Time between two messages of the canary.",
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;

type ValueOf<S> = S extends { kind: "integer" | "duration" | "bytes" }
  ? number
  : S extends { kind: "boolean" }
    ? boolean
    : S extends { kind: "list" }
      ? readonly string[]
      : S extends { kind: "json" }
        ? unknown
        : S extends { kind: "choice"; choices: readonly (infer C)[] }
          ? C
          : string;

/** Every setting with its parsed value. Durations are milliseconds, sizes bytes. */
export type Config = { readonly [K in SettingName]: ValueOf<(typeof SETTINGS)[K]> };
