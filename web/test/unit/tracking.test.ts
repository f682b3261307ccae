/** The tracker asks and reports what the Python package's tracker does. */

import { expect, test } from "vitest";

import type { Face } from "../../src/face.js";
import type { Box } from "../../src/geometry.js";
import type { Pixels } from "../../src/pixels.js";
import { distance, FaceTracker, match, shareInside } from "../../src/tracking.js";
import { expected, largestDifference } from "../data.js";

const FRAME: Pixels = { data: new Uint8ClampedArray(4 * 640 * 480), width: 640, height: 480 };
// A frame upside down has this pixel elsewhere.
FRAME.data[0] = 255;

function toFace(record: any): Face {
  return { id: null, ...record };
}

test.each([
  ["a recorded video", 0],
  ["a recorded video upside down", 1],
])("%s", async (_, recording) => {
  let calls: any[] = [];
  let glances = 0;
  const tracker = new FaceTracker(
    async (pixels) => {
      const call = calls.shift();
      expect(call).toHaveProperty("detections");
      expect(pixels.data[0] === 0).toBe(call.turned);
      return call.detections;
    },
    async (pixels, boxes) => {
      const call = calls.shift();
      expect(call).toHaveProperty("faces");
      expect(pixels.data[0] === 0).toBe(call.turned);
      expect(largestDifference(boxes, call.boxes)).toBeLessThan(1e-4);
      return call.faces.map(toFace);
    },
    undefined,
    undefined,
    async () => {
      const call = calls.shift();
      expect(call).toHaveProperty("glance");
      glances++;
      return call.glance;
    },
  );
  const ids = new Set<number>();
  for (const frame of expected.tracking[recording]) {
    calls = [...frame.calls];
    const faces = await tracker.update(FRAME, frame.time);
    expect(calls).toEqual([]);
    expect(faces.map(({ id, score }) => [id, score])).toEqual(
      frame.faces.map(({ id, score }: any) => [id, score]),
    );
    faces.forEach((face, index) => {
      ids.add(face.id!);
      const truth = frame.faces[index];
      expect(largestDifference(face.landmarks, truth.landmarks)).toBeLessThan(1e-3);
      const pose = [face.pose.pitch, face.pose.yaw, face.pose.roll];
      expect(largestDifference(pose, [truth.pose.pitch, truth.pose.yaw, truth.pose.roll])).toBeLessThan(1e-3);
    });
  }
  expect(ids.size).toBeGreaterThanOrEqual(3);
  expect(glances).toBeGreaterThan(0);
});

function faceAt(x: number, confidence = 0.9): Face {
  const landmarks = expected.geometry[0].landmarks.map((point: number[]) => [...point]);
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  const left = Math.min(...landmarks.map((point: number[]) => point[0]));
  const top = Math.min(...landmarks.map((point: number[]) => point[1]));
  for (const point of landmarks) {
    point[0] += x - left;
    point[1] += 100 - top;
    box[0] = Math.min(box[0], point[0]);
    box[1] = Math.min(box[1], point[1]);
    box[2] = Math.max(box[2], point[0]);
    box[3] = Math.max(box[3], point[1]);
  }
  return {
    landmarks,
    box,
    score: null,
    pose: { pitch: 0, yaw: 0, roll: 0 },
    id: null,
    visibility: null,
    confidence,
  };
}

test("a frame of another size starts again, and an id is never given twice", async () => {
  const face = faceAt(100);
  const tracker = new FaceTracker(
    async () => [{ box: face.box, score: 0.9 }],
    async (_, boxes) => boxes.map(() => face),
  );
  expect((await tracker.update(FRAME, 1)).map(({ id }) => id)).toEqual([0]);
  expect((await tracker.update(FRAME, 2)).map(({ id }) => id)).toEqual([0]);
  expect((await tracker.update({ ...FRAME, width: 800 }, 3)).map(({ id }) => id)).toEqual([1]);
});

test("bad settings and times are rejected", async () => {
  const none = async () => [];
  expect(() => new FaceTracker(none, none, { detectevery: 1 } as object)).toThrow(
    "unknown settings detectevery",
  );
  const tracker = new FaceTracker(none, none);
  await tracker.update(FRAME, 1);
  await expect(tracker.update(FRAME, 1)).rejects.toThrow("expected more than that of the last frame");
});

test("matching, distance and share inside", () => {
  expect([
    ...match(
      [
        [0.1, 0.3],
        [0.2, 0.9],
      ],
      0.5,
    ),
  ]).toEqual([
    [0, 1],
    [1, 0],
  ]);
  expect([...match([[0.9], [0.2]], 0.5)]).toEqual([[1, 0]]);
  expect(match([], 0.5).size).toBe(0);
  expect(distance([0, 0, 10, 10], [10, 0, 20, 10])).toBeCloseTo(1, 12);
  expect(distance([0, 0, 10, 10], [-5, -5, 15, 15])).toBeCloseTo(Math.LN2, 12);
  expect(shareInside([-10.5, 0, 9.5, 10], 640, 480)).toBeCloseTo(0.5, 12);
});
