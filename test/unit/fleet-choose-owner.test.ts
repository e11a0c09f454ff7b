import { expect, test } from "vitest";
import { chooseOwner } from "#core/fleet/choose-owner.ts";
import type { Availability } from "#core/fleet/publish-stream.ts";
import { routerAt } from "../harness/hand-map.ts";

function choose(
  states: readonly Availability[],
  refused: readonly number[] = [],
  avoided: readonly number[] = [],
  newcomers: readonly number[] = [],
): string {
  const owners = states.map((_, index) => routerAt(String(index)));
  const place = (incarnation: string): number => Number(incarnation);
  const choice = chooseOwner(
    owners,
    ({ incarnation }) => states[place(incarnation)] ?? "dead",
    ({ incarnation }) => {
      if (refused.includes(place(incarnation))) return "refused";
      if (newcomers.includes(place(incarnation))) return "new";
      return avoided.includes(place(incarnation)) ? "avoided" : "usual";
    },
  );
  return choice.kind === "router" ? choice.router.incarnation : choice.kind;
}

test.each<[readonly Availability[], string]>([
  [["live", "live"], "0"],
  [["dead", "live"], "1"],
  [["draining", "live"], "1"],
  [["pending", "live"], "1"],
  [["draining", "dead"], "0"],
  [["dead", "draining"], "1"],
  [["draining", "draining"], "0"],
  [["pending", "draining"], "1"],
  [["pending", "dead"], "soon"],
  [["dead", "pending"], "soon"],
  [["dead", "dead"], "none"],
  [[], "none"],
])("of %j the publish goes to %s", (states, expected) => {
  expect(choose(states)).toBe(expected);
});

test("a router that refused this publish is never asked again", () => {
  expect(choose(["live", "live"], [0])).toBe("1");
  expect(choose(["live", "draining"], [0])).toBe("1");
  expect(choose(["live", "dead"], [0])).toBe("none");
  expect(choose(["live", "live"], [0, 1])).toBe("none");
});

test("a router that just refused others of the shard comes last among the live, but before a draining one", () => {
  expect(choose(["live", "live"], [], [0])).toBe("1");
  expect(choose(["live", "dead"], [], [0])).toBe("0");
  expect(choose(["live", "draining"], [], [0])).toBe("0");
});

test("a router that is new in the list comes last, also behind a draining one, which has the interest", () => {
  expect(choose(["draining", "live"], [], [], [1])).toBe("0");
  expect(choose(["live", "live"], [], [], [0])).toBe("1");
  expect(choose(["dead", "live"], [], [], [1])).toBe("1");
  expect(choose(["draining", "live"], [0], [], [1])).toBe("1");
});
