/** The diffusion heat map, from which the second pass starts. */

import { CONSTANTS } from "./constants.js";
import type { Point } from "./geometry.js";
import { roundHalfEven } from "./pixels.js";

/**
 * Draws the three-channel heat map of one face.
 *
 * At each landmark the value of a channel is the landmark's own coordinate on that axis, scaled by
 * its range over the face, spread by a Gaussian. Overlapping Gaussians combine by maximum.
 *
 * @param landmarks in pixels of the network input.
 * @param size side of the square map in pixels.
 * @returns size x size x 3 in [0, 1].
 */
export function diffusionHeatmap(landmarks: readonly Point[], size: number): Float32Array<ArrayBuffer> {
  const { sigma, radius } = CONSTANTS.heatmap;
  const low = [0, 1, 2].map((axis) => Math.min(...landmarks.map((point) => point[axis])));
  const high = [0, 1, 2].map((axis) => Math.max(...landmarks.map((point) => point[axis])));
  const map = new Float32Array(size * size * 3);
  const gaussian = (distance: number) => Math.fround(Math.exp(-(distance ** 2) / (2 * sigma ** 2)));
  for (const point of landmarks) {
    const values = point.map((value, axis) =>
      Math.fround((value - low[axis]) / (high[axis] > low[axis] ? high[axis] - low[axis] : 1)),
    );
    const [middleX, middleY] = [roundHalfEven(point[0]), roundHalfEven(point[1])];
    for (let y = Math.max(middleY - radius, 0); y <= Math.min(middleY + radius, size - 1); y++) {
      const alongY = gaussian(y - point[1]);
      for (let x = Math.max(middleX - radius, 0); x <= Math.min(middleX + radius, size - 1); x++) {
        const weight = Math.fround(alongY * gaussian(x - point[0]));
        const at = 3 * (y * size + x);
        for (let axis = 0; axis < 3; axis++) map[at + axis] = Math.max(map[at + axis], weight * values[axis]);
      }
    }
  }
  return map;
}
