import { create } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import { HelloSchema } from "#proto/earshot/internal/v1/control_plane_pb.ts";
import { Processes, type ProcessRole } from "../../operator/control-plane/processes.ts";
import { type EndpointSlice, KubeEndpoints } from "../../operator/platform/kube-endpoints.ts";
import { HandClock } from "../harness/hand-clock.ts";

const slices = new Map<string, EndpointSlice>();
let told: () => void = () => undefined;
let clock: HandClock;
let processes: Processes;
let endpoints: KubeEndpoints;

beforeEach(() => {
  slices.clear();
  clock = new HandClock();
  processes = new Processes(clock);
  const onChange = (listener: (key: string) => void) => {
    told = () => listener("any");
    return () => undefined;
  };
  endpoints = new KubeEndpoints({
    informer: { objects: slices, onChange },
    services: { operator: "es-operator", router: "es-router", gateway: "es-gateway" },
    operatorPort: 7001,
    processes,
  });
});

type Pods = readonly { readonly pod: string; readonly ready?: boolean; readonly zone?: string }[];

function setSlice(name: string, service: string, pods: Pods): void {
  slices.set(name, {
    metadata: { name, labels: { "kubernetes.io/service-name": service } },
    endpoints: pods.map(({ pod, ready, zone }) => ({
      conditions: ready === undefined ? {} : { ready },
      targetRef: { kind: "Pod", name: pod },
      ...(zone === undefined ? {} : { zone }),
    })),
  });
  told();
}

function connect(role: ProcessRole, incarnation: string, name: string): void {
  processes.opened(create(HelloSchema, { incarnation, name, address: "h:1" }), role);
  clock.advance(1);
}

function stateOf(incarnation: string, name: string): string {
  return endpoints.stateOf({ role: "router", incarnation, name });
}

test("pods are listed for the role whose Service they are of, ready or not", () => {
  setSlice("a", "es-router", [{ pod: "r1", ready: true }, { pod: "r2", ready: false }, { pod: "r3" }]);
  setSlice("b", "es-gateway", [{ pod: "g1", ready: true }]);
  setSlice("c", "of-somebody-else", [{ pod: "x", ready: true }]);
  expect(endpoints.list("router").map(({ name, ready }) => `${name} ${ready}`)).toEqual([
    "r1 true",
    "r2 false",
    // No condition means ready, as the API says.
    "r3 true",
  ]);
  expect(endpoints.list("gateway").map(({ name }) => name)).toEqual(["g1"]);
  expect(endpoints.list("presence")).toEqual([]);
});

test("a pod in two slices is listed once, and is ready when either says so", () => {
  setSlice("v4", "es-router", [{ pod: "r1", ready: false }]);
  setSlice("v6", "es-router", [{ pod: "r1", ready: true }]);
  expect(endpoints.list("router")).toHaveLength(1);
  expect(stateOf("i1", "r1")).toBe("ready");
});

test("a process is what Kubernetes says of its pod, and gone when there is no such pod", () => {
  setSlice("a", "es-router", [
    { pod: "r1", ready: true },
    { pod: "r2", ready: false },
  ]);
  connect("router", "i1", "r1");
  expect(stateOf("i1", "r1")).toBe("ready");
  expect(stateOf("i2", "r2")).toBe("notReady");
  expect(stateOf("i3", "r3")).toBe("gone");
  setSlice("a", "es-router", []);
  expect(stateOf("i1", "r1")).toBe("gone");
});

test("a container that restarted in its pod is another process: the one before is gone, whatever the pod's readiness", () => {
  setSlice("a", "es-router", [{ pod: "r1", ready: true }]);
  connect("router", "before", "r1");
  expect(stateOf("before", "r1")).toBe("ready");
  connect("router", "after", "r1");
  expect(stateOf("before", "r1")).toBe("gone");
  expect(stateOf("after", "r1")).toBe("ready");
});

test("before any process has connected, one of the stored map counts as its pod: a new operator removes nobody", () => {
  setSlice("a", "es-router", [{ pod: "r1", ready: true }]);
  expect(stateOf("of the stored map", "r1")).toBe("ready");
});

test("zones come from the slices; a pod that is not there has none", () => {
  setSlice("a", "es-router", [{ pod: "r1", ready: true, zone: "z1" }, { pod: "r2" }]);
  expect(endpoints.zoneOf("r1")).toBe("z1");
  expect(endpoints.zoneOf("r2")).toBe("");
  expect(endpoints.zoneOf("r3")).toBe("");
});

test("operators are told by their addresses, of either family", () => {
  slices.set("o", {
    metadata: { name: "o", labels: { "kubernetes.io/service-name": "es-operator" } },
    endpoints: [
      { addresses: ["10.0.0.1"], targetRef: { kind: "Pod", name: "o1" } },
      { addresses: ["fd00::1"], conditions: { ready: false }, targetRef: { kind: "Pod", name: "o2" } },
      { targetRef: { kind: "Pod", name: "without an address yet" } },
    ],
  });
  told();
  expect(endpoints.operators()).toEqual(["10.0.0.1:7001", "[fd00::1]:7001"]);
  expect(endpoints.list("router")).toEqual([]);
});

test("what is no pod, and a slice without endpoints, are passed over", () => {
  slices.set("n", { metadata: { name: "n", labels: { "kubernetes.io/service-name": "es-router" } }, endpoints: null });
  slices.set("o", {
    metadata: { name: "o", labels: { "kubernetes.io/service-name": "es-router" } },
    endpoints: [{ targetRef: { kind: "Node", name: "n1" } }, {}],
  });
  told();
  expect(endpoints.list("router")).toEqual([]);
});
