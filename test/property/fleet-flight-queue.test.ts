import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Flight } from "#core/fleet/flight.ts";
import { FlightQueue } from "#core/fleet/flight-queue.ts";
import { messageOrder } from "../harness/router-publisher.ts";

const ORDER = messageOrder("shop.chat", 1);

function flightOf(number: number): Flight {
  return new Flight(ORDER, number, number, { resolve: () => {}, reject: () => {}, settled: () => {} });
}

test("flights are taken oldest first, those that come back at their place by age", () => {
  const numbers = fc.uniqueArray(fc.nat({ max: 500 }), { maxLength: 60 });
  fc.assert(
    fc.property(numbers, fc.array(fc.boolean(), { maxLength: 120 }), (ages, takes) => {
      const queue = new FlightQueue();
      let model: number[] = [];
      const left = [...ages];
      for (const take of takes) {
        if (take) expect(queue.shift()?.number).toBe(model.shift());
        else {
          const age = left.shift();
          if (age === undefined) continue;
          queue.insert(flightOf(age));
          model = [...model, age].sort((a, b) => a - b);
        }
        expect([queue.size, queue.first?.number]).toEqual([model.length, model[0]]);
      }
      const isLate = ({ number }: Flight): boolean => number < 250;
      expect(queue.take(isLate).map(({ number }) => number)).toEqual(model.filter((age) => age < 250));
      expect(queue.take().map(({ number }) => number)).toEqual(model.filter((age) => age >= 250));
      expect(queue.size).toBe(0);
    }),
  );
});

test("a queue that never runs empty lets go of what was taken", () => {
  const queue = new FlightQueue();
  for (let number = 0; number < 2_000; number++) queue.push(flightOf(number));
  for (let number = 2_000; number < 200_000; number++) {
    queue.push(flightOf(number));
    expect(queue.shift()?.number).toBe(number - 2_000);
  }
  expect(queue.places).toBeLessThan(2 * queue.size + 2_048);
});
