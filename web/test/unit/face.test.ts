/** Faces as JSON and as drawings, and models that do not fit. */

import { expect, test } from "vitest";

import { CONTOURS, MIN_CONFIDENCE } from "../../src/constants.js";
import { drawFaces } from "../../src/drawing.js";
import { faceRecord, isConvincing } from "../../src/face.js";
import type { Face } from "../../src/face.js";
import { LandmarkModel } from "../../src/model.js";
import type { Network } from "../../src/network.js";
import { turnRound } from "../../src/pixels.js";
import { expected } from "../data.js";

const [model] = Object.values(expected.photos) as any[];
const face: Face = { id: null, ...model["portrait.jpg"].detected[0] };

test("the record is rounded and leaves out what a face does not have", () => {
  const record = faceRecord(face);
  expect(Object.keys(record)).toEqual(["box", "score", "pose", "confidence", "landmarks", "visibility"]);
  expect(record.landmarks).toHaveLength(68);
  expect(record.landmarks[0][0]).toBeCloseTo(face.landmarks[0][0], 3);
  expect(String(record.landmarks[0][0])).toMatch(/^\d+(\.\d{1,3})?$/);
  const bare = faceRecord({ ...face, id: 7, visibility: null, confidence: null, score: null });
  expect(Object.keys(bare)).toEqual(["id", "box", "score", "pose", "landmarks"]);
  expect(bare.score).toBeNull();
});

test("a face is convincing from a confidence on, or without one", () => {
  expect(isConvincing({ ...face, confidence: MIN_CONFIDENCE })).toBe(true);
  expect(isConvincing({ ...face, confidence: MIN_CONFIDENCE - 0.01 })).toBe(false);
  expect(isConvincing({ ...face, confidence: 0.3 }, 0.2)).toBe(true);
  expect(isConvincing({ ...face, confidence: null })).toBe(true);
});

test("a picture upside down", () => {
  const data = new Uint8ClampedArray([1, 2, 3, 4, 5, 6, 7, 8]);
  const turned = turnRound({ data, width: 1, height: 2 });
  expect([...turned.data]).toEqual([5, 6, 7, 8, 1, 2, 3, 4]);
  expect([turned.width, turned.height]).toEqual([1, 2]);
});

/** A canvas context that counts what is done to it. */
function fakeContext(): { context: CanvasRenderingContext2D; count: Record<string, number> } {
  const count: Record<string, number> = {};
  const context = new Proxy({} as CanvasRenderingContext2D, {
    get: (_, name: string) => () => (count[name] = (count[name] ?? 0) + 1),
    set: () => true,
  });
  return { context, count };
}

test("every part is drawn", () => {
  const { context, count } = fakeContext();
  drawFaces(
    context,
    [{ ...face, id: 3 }],
    ["points", "visibility", "contours", "mesh", "axes", "ids", "box"],
  );
  expect(count.arc).toBe(68);
  expect(count.fillText).toBe(1);
  expect(count.strokeRect).toBe(1);
  // The lines of the contours and three axes.
  expect(count.stroke).toBe(CONTOURS.length + 3);
  expect(count.save).toBe(count.restore);
});

test("by default only points and contours are drawn", () => {
  const { context, count } = fakeContext();
  drawFaces(context, [face, face]);
  expect(count.arc).toBe(2 * 68);
  expect(count.stroke).toBe(2 * 9);
  expect(count.fillText).toBeUndefined();
});

test("a file that is no landmark model is rejected", () => {
  const network: Network = {
    name: "other.tflite",
    inputs: [{ name: "crops", dtype: "uint8", shape: [-1, 112, 112, 3] }],
    outputs: [{ name: "landmarks", dtype: "float32", shape: [1, 68, 3] }],
    signatures: ["serving_default"],
    run: async () => {
      throw new Error("not run");
    },
    close() {},
  };
  expect(() => new LandmarkModel(network)).toThrow("expected uint8 crops (1, S, S, 3)");
});
