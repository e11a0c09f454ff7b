// Owns: which routers and gateways Kubernetes says are there, from the EndpointSlices of their Services (KEP-752). A pod is
// a place: a container that restarts in it is another process, of which Kubernetes cannot tell apart whose readiness it
// reports, so a process counts as gone once a later one of its pod has connected.

import type { Unlisten } from "#core/fleet/fleet.ts";
import { hostPort } from "#core/runtime/process.ts";
import type { Processes, ProcessRole } from "../control-plane/processes.ts";
import type { KubeObject } from "../kube/api.ts";
import type { Informer } from "../kube/informer.ts";
import type { Endpoint, EndpointOwner, Endpoints } from "./platform.ts";

/** discovery.k8s.io/v1 EndpointSlice, as far as it is read here. */
export interface EndpointSlice extends KubeObject {
  readonly endpoints?:
    | readonly {
        readonly addresses?: readonly string[];
        readonly conditions?: { readonly ready?: boolean | null; readonly terminating?: boolean | null };
        readonly targetRef?: { readonly kind?: string; readonly name?: string };
        readonly zone?: string;
      }[]
    | null;
}

const ROLES: readonly PlaceRole[] = ["operator", "router", "gateway"];

export const SERVICE_LABEL = "kubernetes.io/service-name";

interface Place extends Endpoint {
  readonly zone: string;
  readonly address: string | undefined;
}

type PlaceRole = keyof KubeEndpointsOptions["services"];

type Places = ReadonlyMap<PlaceRole, ReadonlyMap<string, Place>>;

export interface KubeEndpointsOptions {
  /** Of the slices of both Services; whoever made it starts and closes it. */
  readonly informer: Pick<Informer<EndpointSlice>, "objects" | "onChange">;
  /** Service of each role. */
  readonly services: Readonly<Record<"operator" | "router" | "gateway", string>>;
  /** Where every operator listens. */
  readonly operatorPort: number;
  readonly processes: Pick<Processes, "named">;
}

export class KubeEndpoints implements Endpoints {
  readonly #options: KubeEndpointsOptions;
  /** Undefined: to be made anew from the slices. */
  #places: Places | undefined;

  constructor(options: KubeEndpointsOptions) {
    this.#options = options;
    options.informer.onChange(() => {
      this.#places = undefined;
    });
  }

  list(role: ProcessRole): readonly Endpoint[] {
    return role === "presence" ? [] : [...(this.#read().get(role)?.values() ?? [])];
  }

  operators(): readonly string[] {
    const places = [...(this.#read().get("operator")?.values() ?? [])];
    return places.flatMap(({ address }) =>
      address === undefined ? [] : hostPort(address, this.#options.operatorPort),
    );
  }

  stateOf({ role, name, incarnation }: EndpointOwner): "ready" | "notReady" | "gone" {
    const place = role === "presence" ? undefined : this.#read().get(role)?.get(name);
    const newest = this.#options.processes.named(role, name);
    if (place === undefined || (newest !== undefined && newest.incarnation !== incarnation)) return "gone";
    return place.ready ? "ready" : "notReady";
  }

  zoneOf(name: string): string {
    for (const places of this.#read().values()) {
      const place = places.get(name);
      if (place !== undefined) return place.zone;
    }
    return "";
  }

  onChange(listener: () => void): Unlisten {
    return this.#options.informer.onChange(listener);
  }

  #read(): Places {
    if (this.#places !== undefined) return this.#places;
    const { informer, services } = this.#options;
    const places = new Map<PlaceRole, Map<string, Place>>();
    const roles = new Map(ROLES.map((role) => [services[role], role]));
    for (const slice of informer.objects.values()) {
      const role = roles.get(slice.metadata.labels?.[SERVICE_LABEL] ?? "");
      if (role === undefined) continue;
      const ofRole = places.get(role) ?? new Map<string, Place>();
      places.set(role, ofRole);
      for (const place of placesOf(slice)) ofRole.set(place.name, merged(ofRole.get(place.name), place));
    }
    this.#places = places;
    return places;
  }
}

function* placesOf({ endpoints }: EndpointSlice): Generator<Place> {
  for (const { addresses, conditions, targetRef, zone = "" } of endpoints ?? []) {
    if (targetRef?.kind !== "Pod" || targetRef.name === undefined) continue;
    // No condition means ready, by the API's own documentation.
    yield { name: targetRef.name, ready: conditions?.ready ?? true, zone, address: addresses?.[0] };
  }
}

/** A pod with two address families, or on its way from one slice to another, is listed twice. */
function merged(a: Place | undefined, b: Place): Place {
  return a === undefined ? b : { ...b, ready: a.ready || b.ready };
}
