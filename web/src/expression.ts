/** Weights of named face units (jawOpen, ...) of a fitted face, as by `tf_dhm/face/expression.py`. */

import { CONSTANTS, NUM_LANDMARKS } from "./constants.js";
import type { Point } from "./geometry.js";

/** Largest change of a weight after which the search ends. */
const PRECISION = 1e-7;
const MOST_SWEEPS = 10_000;

export class FaceUnits {
  /**
   * @param mean (3, 68) landmarks of the mean face.
   * @param weighted (204, M) from landmarks to the right side of the normal equations.
   * @param normal (M, M) their left side.
   */
  constructor(
    private readonly mean: Float64Array,
    private readonly weighted: ArrayLike<number>,
    private readonly normal: ArrayLike<number>,
  ) {}

  /** Weights of the units that can be estimated from the landmarks of a network, by name. */
  offered(landmarks: readonly Point[]): Record<string, number> {
    const weights = this.weights(landmarks);
    const { units, offeredUnits } = CONSTANTS.fit;
    return Object.fromEntries(offeredUnits.map((name) => [name, weights[units.indexOf(name)]]));
  }

  /** Weights from 0 to 1 of all M units, from landmarks in the head's frame. */
  weights(landmarks: readonly Point[]): Float64Array {
    const count = CONSTANTS.fit.units.length;
    const right = new Float64Array(count);
    landmarks.forEach((point, index) => {
      for (let axis = 0; axis < 3; axis++) {
        const moved = point[axis] - this.mean[axis * NUM_LANDMARKS + index];
        const at = (3 * index + axis) * count;
        for (let unit = 0; unit < count; unit++) right[unit] += moved * this.weighted[at + unit];
      }
    });
    return boundedMinimum(this.normal, right);
  }
}

/**
 * The w in [0, 1] that minimises w A w - 2 b w, coordinate by coordinate.
 *
 * @param a (M, M) symmetric and positive definite, so that this converges to the only minimum.
 */
export function boundedMinimum(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  const count = b.length;
  const w = new Float64Array(count);
  const gradient = Float64Array.from(b, (value) => -value); // half of it: A w - b
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    let largest = 0;
    for (let i = 0; i < count; i++) {
      const next = Math.min(Math.max(w[i] - gradient[i] / a[i * count + i], 0), 1);
      const change = next - w[i];
      if (change === 0) continue;
      w[i] = next;
      for (let j = 0; j < count; j++) gradient[j] += change * a[i * count + j];
      largest = Math.max(largest, Math.abs(change));
    }
    if (largest < PRECISION) break;
  }
  return w;
}
