// Owns: a Topic's policy as every room reads it, with the defaults of the CRD. The CRD (crds/) is the schema's source;
// the operator parses manifests against it and fills the defaults; core/fleet/topic-codec.ts carries the result.
// Words are written as in the CRD everywhere, but for `permissions` in HTTP (PUBLIC, PUBLISH_ONLY...).

import { MESSAGE_BYTES_DEFAULT } from "./limits.ts";

export type Permissions = "Public" | "Private" | "PublishOnly" | "SubscribeOnly";
export type Channels = "None" | "Dynamic";
export type Presence = "None" | "Count" | "Members";
export type SlowConsumer = "DropOldest" | "DropNewest" | "Disconnect";
export type Priority = "Normal" | "Low";

export type Subject =
  | { readonly kind: "User"; readonly name: string }
  | { readonly kind: "Group"; readonly name: string }
  | { readonly kind: "ServiceAccount"; readonly namespace: string; readonly name: string }
  | { readonly kind: "ChannelUser" };

export interface TopicPolicy {
  readonly permissions: Permissions;
  /** User id; undefined for Topics nobody owns. */
  readonly owner: string | undefined;
  readonly publishers: readonly Subject[];
  readonly subscribers: readonly Subject[];
  readonly channels: Channels;
  readonly presence: Presence;
  readonly slowConsumer: SlowConsumer;
  readonly maxMessageBytes: number;
  readonly batchWindowMilliseconds: number;
  readonly priority: Priority;
  /** 0: no limit of the Topic's own; each topic id (channel) has its own. */
  readonly maxPublishesPerSecond: number;
  readonly maxSubscribers: number;
  readonly maxChannels: number;
}

export interface Topic {
  /** `<namespace>.<name>`. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly policy: TopicPolicy;
  /** Made over HTTP or gRPC: only these may be changed there. */
  readonly httpManaged: boolean;
}

/** What a Topic says that says nothing: the defaults of the CRD. */
export const POLICY_DEFAULTS: TopicPolicy = {
  permissions: "Private",
  owner: undefined,
  publishers: [],
  subscribers: [],
  channels: "None",
  presence: "Count",
  slowConsumer: "DropOldest",
  maxMessageBytes: MESSAGE_BYTES_DEFAULT,
  batchWindowMilliseconds: 0,
  priority: "Normal",
  maxPublishesPerSecond: 1_000,
  maxSubscribers: 0,
  maxChannels: 0,
};
