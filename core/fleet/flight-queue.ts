// Owns: flights that wait, oldest first, in a lane or before a stream. Taking one moves no array, since tens of thousands
// may wait; what was taken is let go of at the latest when it is half of the array. Pure. Caps are its owners'.

import type { Flight } from "./flight.ts";

/** Places that were taken before the array is moved together. */
const COMPACT_AT = 1_024;

export class FlightQueue {
  #flights: Flight[] = [];
  /** Where those that wait begin. */
  #head = 0;

  get size(): number {
    return this.#flights.length - this.#head;
  }

  /** Places of the array, taken ones included. */
  get places(): number {
    return this.#flights.length;
  }

  get first(): Flight | undefined {
    return this.#flights[this.#head];
  }

  push(flight: Flight): void {
    this.#flights.push(flight);
  }

  /** Puts a flight at its place by age. */
  insert(flight: Flight): void {
    let place = this.#flights.length;
    while (place > this.#head && (this.#flights[place - 1]?.number ?? 0) > flight.number) place -= 1;
    this.#flights.splice(place, 0, flight);
  }

  shift(): Flight | undefined {
    const flight = this.first;
    if (flight === undefined) return undefined;
    this.#head += 1;
    if (this.size === 0) this.#compact();
    else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#flights.length) this.#compact();
    return flight;
  }

  /** Takes all, or those that meet a condition. */
  take(meets: (flight: Flight) => boolean = () => true): readonly Flight[] {
    const waiting = this.#flights.slice(this.#head);
    const taken = waiting.filter(meets);
    if (taken.length === 0) return taken;
    this.#flights = taken.length === waiting.length ? [] : waiting.filter((flight) => !meets(flight));
    this.#head = 0;
    return taken;
  }

  #compact(): void {
    this.#flights = this.#flights.slice(this.#head);
    this.#head = 0;
  }
}
