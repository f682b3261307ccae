/** A third pass is made only if two passes differ. */

import { expect, test } from "vitest";

import { Aligner, differ } from "../../src/aligner.js";
import { CONSTANTS } from "../../src/constants.js";
import type { Box, Point } from "../../src/geometry.js";
import type { Pixels } from "../../src/pixels.js";

const PIXELS: Pixels = { data: new Uint8ClampedArray(4 * 100 * 100), width: 100, height: 100 };
const BOX: Box = [30, 30, 70, 70];
const SIZE = 64;

/** An aligner whose model finds the mean face `shift` crop pixels to the right, and counts its passes. */
function aligner(shift: number): { aligner: Aligner; passes: () => number } {
  let passes = 0;
  const model = {
    name: "shift",
    inputSize: SIZE,
    canRefine: true,
    predict: async () => {
      passes++;
      const landmarks = CONSTANTS.meanShape.map(([x, y, z]): Point => [
        (x * SIZE) / 2 + SIZE / 2 + shift,
        (y * SIZE) / 2 + SIZE / 2,
        z,
      ]);
      return { landmarks, visibility: null, confidence: passes / 10 };
    },
  };
  return { aligner: new (Aligner as any)(model, ""), passes: () => passes };
}

test("two passes differ by more than a share of the size of the face", () => {
  const face = Array.from({ length: 68 }, (_, i): Point => [i === 0 ? 0 : 40, i === 0 ? 0 : 10, i]); // size 20
  const moved = (by: number) =>
    face.map(([x, y, z]): Point => [x, y + by * CONSTANTS.unsettled * 20, z + 50]);
  expect(differ(moved(0.99), face)).toBe(false);
  expect(differ(moved(1.01), face)).toBe(true);
});

test.each<[number, number, boolean, number]>([
  [10, 2, true, 3],
  [10, 2, false, 2],
  [10, 1, true, 1],
  [10, 3, true, 4],
])("shift of %i pixels, %i passes, settles: %s", async (shift, passes, settles, expected) => {
  const { aligner: own, passes: count } = aligner(shift);
  const [face] = await own.alignBoxes(PIXELS, [{ box: BOX, score: null }], passes, settles);
  expect(count()).toBe(expected);
  expect(face.confidence).toBe(expected / 10);
});

test("a face that stays where it is has no third pass", async () => {
  const { aligner: own, passes } = aligner(0.5);
  await own.alignBoxes(PIXELS, [{ box: BOX, score: null }], 2, true);
  expect(passes()).toBe(2);
});
