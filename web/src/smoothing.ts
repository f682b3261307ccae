/**
 * The One-Euro filter for landmarks (Casiez, Roussel, Vogel, CHI 2012).
 *
 * A low-pass filter whose cutoff rises with speed: points at rest are held, moving ones follow with
 * little delay. Speeds are in face sizes per second, so that one setting serves faces of any size.
 */

import type { SmoothingConfig } from "./constants.js";
import { InputError } from "./errors.js";
import type { Point } from "./geometry.js";

/** Weight of the newest value: 1 / (1 + tau / interval) with tau = 1 / (2 pi cutoff). */
export function smoothingFactor(cutoff: number, interval: number): number {
  return 1 / (1 + 1 / (2 * Math.PI * cutoff * interval));
}

/** Filter of one face. */
export class OneEuroFilter {
  private time = 0;
  private landmarks: Point[] | null = null;
  private velocity: Point[] = [];

  constructor(private readonly config: SmoothingConfig) {}

  /**
   * Smooths the landmarks of the next frame.
   *
   * @param time of the frame in seconds.
   * @param size of the face in pixels, the unit of speed.
   */
  update(time: number, landmarks: readonly Point[], size: number): Point[] {
    const last = this.landmarks;
    if (last === null) {
      this.velocity = landmarks.map(() => [0, 0, 0]);
      this.landmarks = landmarks.map((point): Point => [...point]);
    } else {
      const interval = time - this.time;
      if (!(interval > 0)) {
        throw new InputError(
          `time: found ${time} s, expected more than that of the last frame, ${this.time} s`,
        );
      }
      const { minCutoff, beta, speedCutoff } = this.config;
      const speedWeight = smoothingFactor(speedCutoff, interval);
      this.landmarks = landmarks.map((point, index): Point => {
        const [before, velocity] = [last[index], this.velocity[index]];
        for (let axis = 0; axis < 3; axis++) {
          velocity[axis] += speedWeight * ((point[axis] - before[axis]) / interval - velocity[axis]);
        }
        // One speed for the x, y and z of a landmark, so that turning the picture changes nothing.
        const speed = Math.hypot(...velocity) / size;
        const weight = smoothingFactor(minCutoff + beta * speed, interval);
        return point.map((value, axis) => before[axis] + weight * (value - before[axis])) as Point;
      });
    }
    this.time = time;
    return this.landmarks.map((point): Point => [...point]);
  }
}
