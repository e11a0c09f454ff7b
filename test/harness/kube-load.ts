// Owns: the load under which an installation in a cluster is rolled: 500 messages a second over gRPC (the publishers'
// Service) and HTTP (the edge), on 50 channels, each heard by WebSocket and SSE through an Ingress and an HTTPRoute: 200
// clients. Everything is counted by message number. Elsewhere: what is done meanwhile (kube-drills.ts).

import { FollowingEar } from "./following-ear.ts";
import type { Gateways } from "./gateway-choice.ts";
import { urlOf } from "./kube-edge.ts";
import type { KubeRelease } from "./kube-release.ts";
import { type Door, type Heard, MessageCounter, type Told } from "./message-counter.ts";
import { GrpcDoor, HttpDoor } from "./publish-doors.ts";
import { StreamingDoor } from "./streaming-door.ts";
import { until } from "./until.ts";

export interface LoadSize {
  /** Each has four clients. */
  readonly channels: number;
  readonly perSecond: number;
}

const FULL: LoadSize = { channels: 50, perSecond: 500 };

/** Messages of an HTTP batch. */
const BATCH = 4;

/** Milliseconds for what takes seconds on a machine of its own. */
const PATIENCE_MS = 120_000;

const TOPIC = "load";
const ACCOUNT = "load";

interface EarPlan {
  readonly kind: "websocket" | "sse";
  readonly home: "ingress" | "route";
  /** Told to move, some clients leave before they come: what they miss is counted apart. */
  readonly leavesFirst: boolean;
}

const EARS: readonly EarPlan[] = [
  { kind: "websocket", home: "ingress", leavesFirst: false },
  { kind: "sse", home: "ingress", leavesFirst: false },
  { kind: "websocket", home: "route", leavesFirst: false },
  { kind: "sse", home: "route", leavesFirst: true },
];

export interface LoadFigures {
  readonly published: number;
  readonly clients: number;
  /** Sums over all clients. */
  readonly lost: number;
  readonly doubled: number;
  /** Connections that ended before the client left them. */
  readonly disconnected: number;
  /** Connections that were left for another one, as told by `reconnect`. */
  readonly moved: number;
  /** What clients missed that left their connection before they had another one: all of them, and the one that missed most. */
  readonly missedBetween: number;
  readonly missedBetweenMost: number;
  readonly gaps: Readonly<Record<string, number>>;
  readonly unheard: number;
  readonly unknown: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly broken: Readonly<Record<string, number>>;
  /** Of the worst client: milliseconds between two messages, which come every 100 or so. */
  readonly longestSilenceMs: number;
}

/** Publishers and clients of one release, ready to speak and hear. */
interface Access {
  readonly release: KubeRelease;
  readonly doors: Gateways;
  readonly edges: Gateways;
  readonly token: string;
}

interface Channel {
  readonly counter: MessageCounter;
  readonly ears: readonly FollowingEar[];
  readonly doors: readonly Door[];
}

/** Makes what the load needs: a Topic, and a ServiceAccount that alone may speak and hear on it. */
export async function prepareLoad(release: KubeRelease, presence: "Count" | "Members"): Promise<void> {
  const { namespace, kube } = release;
  const subject = { kind: "ServiceAccount", namespace, name: ACCOUNT };
  const objects = [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: ACCOUNT, namespace } },
    {
      apiVersion: "earshot.dev/v1alpha1",
      kind: "Topic",
      metadata: { name: TOPIC, namespace },
      spec: { permissions: "Private", channels: "Dynamic", presence, publishers: [subject], subscribers: [subject] },
    },
  ];
  const list = { apiVersion: "v1", kind: "List", items: objects };
  await kube.kubectl(["apply", "-f", "-"], JSON.stringify(list));
  await kube.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", "-n", namespace, `topic/${TOPIC}`]);
}

export class KubeLoad {
  readonly #channels: Channel[] = [];

  /** Resolves when messages are in the flow at every client. */
  static async start(release: KubeRelease, { channels, perSecond } = FULL): Promise<KubeLoad> {
    const load = new KubeLoad();
    const access = await accessOf(release);
    try {
      await Promise.all(Array.from({ length: channels }, (_, index) => load.#open(access, index)));
      for (const { counter, doors } of load.#channels) counter.start(perSecond / channels, doors);
      await load.flows();
      return load;
    } catch (error) {
      await load.close();
      throw error;
    }
  }

  /** Resolves when every client has heard some more messages. */
  async flows(count = 20): Promise<void> {
    await Promise.all(
      this.#channels.map(async ({ counter }) => {
        const goals = counter.ears.map((ear) => [ear, counter.received(ear) + count] as const);
        const isHeard = (): boolean => goals.every(([ear, goal]) => counter.received(ear) >= goal);
        await until(isHeard, `every client hears ${count} more messages`, PATIENCE_MS);
      }),
    );
  }

  /** Ends the flow; resolves when every answer is there. */
  async stop(): Promise<void> {
    await Promise.all(this.#channels.map(({ counter }) => counter.stop()));
  }

  async close(): Promise<void> {
    await this.stop();
    for (const { ears, doors } of this.#channels) for (const one of [...ears, ...doors]) one.close();
  }

  figures(): LoadFigures {
    const all = this.#channels.flatMap(({ counter, ears }) => ears.map((ear) => ({ ear, ...counter.heard(ear.name) })));
    const sum = (of: (one: Heard) => number): number => all.reduce((total, one) => total + of(one), 0);
    const most = (of: (one: Heard) => number): number => Math.max(...all.map(of));
    return {
      published: this.#channels.reduce((total, { counter }) => total + counter.published, 0),
      clients: all.length,
      lost: sum(({ lost }) => lost.length),
      doubled: sum(({ doubled }) => doubled.length),
      disconnected: all.reduce((total, { ear }) => total + ear.breaks, 0),
      moved: all.reduce((total, { ear }) => total + ear.moves, 0),
      missedBetween: sum(({ missedAway }) => missedAway),
      missedBetweenMost: most(({ missedAway }) => missedAway),
      gaps: counts(all.flatMap(({ gapReasons }) => gapReasons)),
      ...this.#told(),
      longestSilenceMs: most(({ longestSilenceMs }) => longestSilenceMs),
    };
  }

  #told(): Omit<Told, "taken"> {
    const told = this.#channels.map(({ counter }) => counter.told());
    return {
      unheard: told.reduce((total, { unheard }) => total + unheard, 0),
      unknown: told.reduce((total, { unknown }) => total + unknown, 0),
      refused: added(told.map(({ refused }) => refused)),
      broken: added(told.map(({ broken }) => withoutFigures(broken))),
    };
  }

  async #open({ release, doors, edges, token }: Access, index: number): Promise<void> {
    const counter = new MessageCounter();
    const topicId = `${release.namespace}.${TOPIC}:${index}`;
    const ears = await Promise.all(
      EARS.map((plan) => FollowingEar.open({ ...plan, topicId, token, gateways: edges }, counter)),
    );
    const inside = { gateways: doors, home: doors.names("gateway")[0] ?? "", topicId, token };
    const outside = (home: string) => ({ gateways: edges, home, topicId, token });
    this.#channels.push({
      counter,
      ears,
      doors: [
        new GrpcDoor(inside),
        StreamingDoor.grpc(inside),
        new HttpDoor(outside("ingress"), BATCH),
        new HttpDoor(outside("route"), 1),
      ],
    });
  }
}

async function accessOf(release: KubeRelease): Promise<Access> {
  const { kube, namespace, ingressHost, routeHost } = release;
  const token = ["create", "token", ACCOUNT, "-n", namespace, "--audience", "earshot", "--duration", "6h"];
  const grpc = await release.serviceAddress(release.of("publish"), 8081);
  const hosts: Readonly<Record<string, string>> = { ingress: ingressHost, route: routeHost };
  const url = (edge: string): string => urlOf(hosts[edge] ?? "");
  return {
    release,
    token: (await kube.kubectl(token)).trim(),
    // The same address three times: so often a publisher tries what is safe to repeat.
    doors: { names: () => ["publish", "again", "once more"], grpc: () => grpc, http: () => "", ws: () => "" },
    edges: {
      names: () => Object.keys(hosts),
      http: url,
      ws: (edge) => url(edge).replace("http:", "ws:"),
      grpc: () => "",
    },
  };
}

function counts(words: readonly string[]): Readonly<Record<string, number>> {
  return added(words.map((word) => ({ [word]: 1 })));
}

function added(all: readonly Readonly<Record<string, number>>[]): Readonly<Record<string, number>> {
  const total: Record<string, number> = {};
  for (const one of all) for (const [key, count] of Object.entries(one)) total[key] = (total[key] ?? 0) + count;
  return total;
}

/** The same failure is one, whatever its times and addresses. */
function withoutFigures(broken: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return added(Object.entries(broken).map(([why, count]) => ({ [why.replace(/ after [\d.]+s.*/s, "")]: count })));
}
