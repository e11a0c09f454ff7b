// Owns: the slope of a series over time with its 95 % interval. Pure. Samples of a heap in a row resemble each other, so a
// fit through all of them would claim to know the slope far too well: it goes through means of blocks, each longer than
// what makes neighbours alike (collections, batches of churn), and the interval is Student's for so many blocks.

export interface Sample {
  readonly minute: number;
  readonly value: number;
}

export interface Slope {
  /** First block's mean. */
  readonly start: number;
  readonly perMinute: number;
  /** Half of the 95 % interval of `perMinute`. */
  readonly uncertainty: number;
}

/** Means of so many parts of a series: ten of a minute each in ten minutes. */
const BLOCKS = 10;

/** Student's t, two-sided 95 %, by degrees of freedom from 1 on. */
const T_95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306];

export function slopeOf(samples: readonly Sample[], blocks = BLOCKS): Slope {
  const means = blockMeans(samples, blocks);
  const middle = mean(means.map(({ minute }) => minute));
  const level = mean(means.map(({ value }) => value));
  const spread = sum(means.map(({ minute }) => (minute - middle) ** 2));
  const perMinute = sum(means.map(({ minute, value }) => (minute - middle) * (value - level))) / spread;
  const rest = sum(means.map(({ minute, value }) => (value - level - perMinute * (minute - middle)) ** 2));
  const freedom = means.length - 2;
  const uncertainty = (T_95[freedom - 1] ?? Number.NaN) * Math.sqrt(rest / freedom / spread);
  return { start: means[0]?.value ?? Number.NaN, perMinute, uncertainty };
}

/** Whether the interval holds 0: nothing grew that could be told from chance. */
export function isFlat({ perMinute, uncertainty }: Slope): boolean {
  return Math.abs(perMinute) <= uncertainty;
}

function blockMeans(samples: readonly Sample[], blocks: number): readonly Sample[] {
  const size = samples.length / blocks;
  return Array.from({ length: blocks }, (_, index) => {
    const part = samples.slice(Math.round(index * size), Math.round((index + 1) * size));
    return { minute: mean(part.map(({ minute }) => minute)), value: mean(part.map(({ value }) => value)) };
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}
