/** Geometry, heat map and smoothing give the numbers of the Python package. */

import { describe, expect, test } from "vitest";

import { CONSTANTS, MIRROR } from "../../src/constants.js";
import {
  checkBox,
  cropSquare,
  cropToImage,
  eulerAngles,
  invertAffine,
  overlap,
  poseFromLandmarks,
  rotationMatrix,
  shapeResidual,
  transformLandmarks,
  uprightBox,
  uprightRoll,
} from "../../src/geometry.js";
import type { Box } from "../../src/geometry.js";
import { diffusionHeatmap } from "../../src/heatmap.js";
import { OneEuroFilter } from "../../src/smoothing.js";
import { expected, largestDifference } from "../data.js";

const faces: [number, any][] = expected.geometry.map((face: any, index: number) => [index, face]);

describe("as in Python", () => {
  test.each(faces)("face %i", (_, face) => {
    const { pitch, yaw, roll } = poseFromLandmarks(face.landmarks);
    expect(largestDifference([pitch, yaw, roll], face.pose)).toBeLessThan(1e-9);
    expect(largestDifference(shapeResidual(face.landmarks), face.residual)).toBeLessThan(1e-9);
    expect(largestDifference(uprightRoll(face.landmarks), face.roll)).toBeLessThan(1e-9);
    expect(largestDifference(uprightBox(face.landmarks, face.roll), face.box)).toBeLessThan(1e-9);
    const { x, y, side } = cropSquare(face.box);
    expect(largestDifference([x, y, side], face.square)).toBeLessThan(1e-9);
    const matrix = cropToImage({ x, y, side }, 112, face.roll);
    expect(largestDifference(matrix, face.matrix)).toBeLessThan(1e-9);
    const inCrop = transformLandmarks(invertAffine(matrix), face.landmarks);
    expect(largestDifference(inCrop, face.in_crop)).toBeLessThan(1e-9);
    const map = diffusionHeatmap(inCrop, 112);
    const sampled = [];
    for (let row = 0; row < 112; row += 4) {
      for (let column = 0; column < 112; column += 4) {
        const at = 3 * (112 * row + column);
        sampled.push(...map.subarray(at, at + 3));
      }
    }
    expect(Math.max(...sampled)).toBeGreaterThan(0.5);
    expect(largestDifference(sampled, face.heatmap)).toBeLessThan(1e-6);
  });

  test("smoothing", () => {
    const filter = new OneEuroFilter(CONSTANTS.tracking.smoothing);
    for (const { time, points, size, smoothed } of expected.smoothing) {
      expect(largestDifference(filter.update(time, points, size), smoothed)).toBeLessThan(1e-9);
    }
  });
});

test("euler angles invert the rotation matrix", () => {
  const angles = { pitch: 0.3, yaw: -0.7, roll: 2.5 };
  const found = eulerAngles(rotationMatrix(angles));
  for (const name of ["pitch", "yaw", "roll"] as const) expect(found[name]).toBeCloseTo(angles[name], 12);
  // Gimbal lock: pitch and roll cannot be told apart, so roll is 0.
  const locked = eulerAngles(rotationMatrix({ pitch: 0.2, yaw: Math.PI / 2, roll: 0.3 }));
  expect(locked.roll).toBe(0);
  expect(locked.pitch).toBeCloseTo(-0.1, 6);
});

test("overlap of boxes", () => {
  expect(overlap([0, 0, 2, 2], [1, 0, 3, 2])).toBeCloseTo(1 / 3, 12);
  expect(overlap([0, 0, 1, 1], [2, 2, 3, 3])).toBe(0);
});

test.each([[[1, 2, 1, 3]], [[0, 0, NaN, 1]], [[0, 0, 1]]])("box %j is rejected", (box) => {
  expect(() => checkBox(box as Box)).toThrow("expected finite x0 < x1 and y0 < y1");
});

test("a time that does not rise is rejected", () => {
  const filter = new OneEuroFilter(CONSTANTS.tracking.smoothing);
  filter.update(1, [[0, 0, 0]], 1);
  expect(() => filter.update(1, [[0, 0, 0]], 1)).toThrow("expected more than that of the last frame");
});

test("the mirror map is its own inverse", () => {
  expect(MIRROR.map((index) => MIRROR[index])).toEqual(MIRROR.map((_, index) => index));
});
