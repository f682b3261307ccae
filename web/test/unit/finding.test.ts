/** The search for faces looks where, and keeps what, the Python package's does. */

import { expect, test } from "vitest";

import type { Range } from "../../src/constants.js";
import { FaceFinder, merge, samePlace, tileBoxes } from "../../src/finding.js";
import type { Face } from "../../src/face.js";
import type { Box } from "../../src/geometry.js";
import { cutOut } from "../../src/pixels.js";
import type { Pixels } from "../../src/pixels.js";
import { expected } from "../data.js";

function face(landmarks: any, score: number, confidence: number | null): Face {
  const pose = { pitch: 0, yaw: 0, roll: 0 };
  return { landmarks, box: [0, 0, 1, 1], score, pose, id: null, visibility: null, confidence };
}

test.each<number>(expected.merging.map((_: any, index: number) => index))("merging, case %i", (index) => {
  const { landmarks, scores, confidence, kept } = expected.merging[index];
  const faces = landmarks.map((points: any, row: number) =>
    face(points, scores[row], confidence && confidence[row]),
  );
  expect(merge(faces).map((found) => faces.indexOf(found))).toEqual(kept);
  expect(kept.length).toBeLessThan(12);
});

test("two boxes are of one face if they overlap, or one lies in the other", () => {
  expect(samePlace([0, 0, 10, 10], [5, 0, 15, 10])).toBe(true); // 1/3
  expect(samePlace([0, 0, 10, 10], [6, 0, 16, 10])).toBe(false); // 1/4
  expect(samePlace([0, 0, 100, 100], [80, 0, 110, 10])).toBe(true); // 2/3 of the smaller one
  expect(samePlace([0, 0, 100, 100], [85, 0, 115, 10])).toBe(false); // 1/2 of it
});

test("tiles", () => {
  for (const { width, height, boxes } of expected.detection.tiles) {
    expect(tileBoxes(width, height)).toEqual(boxes);
  }
});

test("a part of a picture", () => {
  const data = Uint8ClampedArray.from({ length: 4 * 12 }, (_, index) => index);
  const part = cutOut({ data, width: 4, height: 3 }, [1, 1, 3, 3]);
  expect([part.width, part.height]).toEqual([2, 2]);
  expect([...part.data]).toEqual([...data.slice(20, 28), ...data.slice(36, 44)]);
});

const PICTURE: Pixels = { data: new Uint8ClampedArray(4 * 100 * 80), width: 100, height: 80 };
const TRIANGLE: [number, number, number][] = [
  [0, 0, 0],
  [10, 0, 0],
  [0, 10, 0],
];

/** The looks of a search in which a face of a confidence is found in each. */
async function looksOf(
  confidence: number,
  ...options: ConstructorParameters<typeof FaceFinder> extends [any, ...infer Rest] ? Rest : never
): Promise<string[]> {
  const looks: string[] = [];
  const look = async (range: Range, _: Pixels, margin: number) => {
    looks.push(`${range} ${margin}`);
    return [{ box: [0, 0, 10, 10] as Box, score: 0.9, keypoints: [] }];
  };
  await new FaceFinder(look, ...options).find(PICTURE, async () => [face(TRIANGLE, 0.9, confidence)]);
  return looks;
}

test("the search ends with a face beyond doubt", async () => {
  expect(await looksOf(0.8)).toEqual(["full 1"]);
  expect(await looksOf(0.79)).toEqual(["full 1", "short 1.5", "short 2", "full 2"]);
  expect(await looksOf(0.8, "auto", 1)).toEqual(["short 1"]);
  expect(await looksOf(0.79, "auto", 1)).toEqual(["short 1", "short 1.5", "full 1", "full 2"]);
  expect(await looksOf(0.79, "short")).toEqual(["short 1", "short 1.5", "short 2"]);
});

test("in a video the first look that sees a face counts", async () => {
  const margins: number[] = [];
  const finder = new FaceFinder(async (_, __, margin) => {
    margins.push(margin);
    return margin < 1.5 ? [] : [{ box: [0, 0, 9, 9], score: 0.6, keypoints: [] }];
  }, "short");
  expect(await finder.detect(PICTURE)).toHaveLength(1);
  expect(margins).toEqual([1, 1.5]);
});

test("a face that the edge of a tile may cut is left to the next tile", async () => {
  const tiles: Pixels[] = [];
  const look = async (_: Range, pixels: Pixels) => {
    tiles.push(pixels);
    return [{ box: [1, 0.3, 9, 8] as Box, score: 0.6 + tiles.length / 100, keypoints: [] }];
  };
  let searched: readonly { box: Box }[] = [];
  await new FaceFinder(look).findInTiles(PICTURE, async (_, detections) => {
    searched = detections;
    return [];
  });
  // Tiles of 40 pixels from 0, 20, 40 and 60, and from 0, 20 and 40. Those of the first row see the face at
  // the top of the picture, the others at an edge inside of it.
  expect(tiles).toHaveLength(12);
  expect(searched.map(({ box }) => box[0])).toEqual([61, 41, 21, 1]);
  for (const { box } of searched) expect(box[1]).toBe(0.3);
});
