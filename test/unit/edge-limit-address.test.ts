import { expect, test } from "vitest";
import * as fc from "fast-check";
import { addressOf } from "#core/edge/grpc-caller.ts";
import { limitAddress } from "#core/edge/limit-address.ts";

test("an IPv4 address counts as itself, also inside an IPv6 one, however that is written", () => {
  for (const address of [
    "192.0.2.7",
    "::ffff:192.0.2.7",
    "::FFFF:c000:207",
    "0:0:0:0:0:ffff:192.0.2.7",
    "64:ff9b::192.0.2.7",
  ]) {
    expect(limitAddress(address), address).toBe("192.0.2.7");
  }
  expect(limitAddress("::ffff:192.0.2.8")).not.toBe(limitAddress("::ffff:192.0.2.7"));
});

test("an IPv6 address counts as its /64", () => {
  const network = "2001:db8:0:7::/64";
  for (const address of [
    "2001:db8:0:7::1",
    "2001:0db8:0000:0007:ffff:ffff:ffff:ffff",
    "2001:DB8:0:7:1::",
    "2001:db8:0:7::1.2.3.4",
  ]) {
    expect(limitAddress(address), address).toBe(network);
  }
  expect(limitAddress("2001:db8:0:8::1")).toBe("2001:db8:0:8::/64");
  expect(limitAddress("::1")).toBe("0:0:0:0::/64");
});

test("neighbours on one wire, whose network is the same, count by themselves", () => {
  expect(limitAddress("fe80::1%eth0")).toBe("fe80:0:0:0:0:0:0:1");
  expect(limitAddress("fe80::2")).not.toBe(limitAddress("fe80::1"));
  expect(limitAddress("febf::2")).toBe("febf:0:0:0:0:0:0:2");
  expect(limitAddress("fec0::2")).toBe("fec0:0:0:0::/64");
});

test("what is no address counts as it is", () => {
  for (const text of ["", "unknown", "undefined"]) expect(limitAddress(text)).toBe(text);
});

test("every address of a /64, however it is shortened, is one; of another /64 another", () => {
  const network = fc.tuple(fc.constantFrom(0x2001, 0x2a02, 0xfd00), ...[1, 2, 3].map(() => fc.nat(0xffff)));
  const host = fc.array(fc.nat(0xffff), { minLength: 4, maxLength: 4 });
  const text = (groups: readonly number[]): string => groups.map((group) => group.toString(16)).join(":");
  const shortened = (groups: readonly number[]): string => new URL(`http://[${text(groups)}]/`).hostname.slice(1, -1);
  fc.assert(
    fc.property(network, host, host, (net, one, other) => {
      expect(limitAddress(shortened([...net, ...one]))).toBe(limitAddress(text([...net, ...other])));
      const next = [...net.slice(0, 3), ((net[3] ?? 0) + 1) & 0xffff];
      expect(limitAddress(text([...next, ...one]))).not.toBe(limitAddress(text([...net, ...one])));
    }),
  );
});

test("the peer of a gRPC call counts by its address, without its port", () => {
  expect(addressOf("127.0.0.1:50001")).toBe("127.0.0.1");
  expect(addressOf("::ffff:127.0.0.1:50001")).toBe("127.0.0.1");
  expect(addressOf("::1:50001")).toBe(limitAddress("::1"));
  expect(addressOf("2001:db8::5:50001")).toBe("2001:db8:0:0::/64");
});
