/** The fit of the whole face is that of the Python package. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, expect, test } from "vitest";

import { Arrays } from "../../src/arrays.js";
import { CONSTANTS } from "../../src/constants.js";
import { boundedMinimum, FaceUnits } from "../../src/expression.js";
import { faceRecord } from "../../src/face.js";
import type { Face } from "../../src/face.js";
import { FaceFitter, fitProblem, likelyAngles, rotationOf } from "../../src/fit.js";
import { drawSurface } from "../../src/surface.js";
import { expected, largestDifference } from "../data.js";

const FACE = resolve(import.meta.dirname, "../../face/open_face.safetensors");
const arrays = new Arrays(new Uint8Array(readFileSync(FACE)), "open_face.safetensors");
const fitter = new FaceFitter(arrays);

function face(landmarks: any, visibility: number[] | null = null, confidence: number | null = null): Face {
  const pose = { pitch: 0, yaw: 0, roll: 0 };
  return { landmarks, box: [0, 0, 1, 1], score: null, pose, id: null, visibility, confidence };
}

const cases: [number, any][] = expected.fits.map((fit: any, index: number) => [index, fit]);

/** Largest difference of a vertex, in pixels, of all cases. */
let largest = 0;

afterAll(() => console.log(`Largest difference of a vertex to Python's fit: ${largest.toFixed(4)} px`));

test.each(cases)("face %i and its next frame", (_, { visibility, frames }) => {
  let last;
  for (const { landmarks, fit: truth } of frames) {
    const fit = fitter.fit(face(landmarks, visibility), 480, last);
    last = fit;
    // Pixels, then centimetres.
    const pixels = largestDifference(fit.vertices, truth.vertices);
    largest = Math.max(largest, pixels);
    expect(pixels).toBeLessThan(0.1);
    expect(largestDifference(fit.head, truth.head)).toBeLessThan(0.003);
    expect(largestDifference(fit.landmarks, truth.landmarks)).toBeLessThan(1e-4);
    const rigid = [0, 1, 2].map((row) => fit.matrix[row].slice(0, 3));
    expect(
      largestDifference(
        rigid,
        truth.matrix.slice(0, 3).map((row: number[]) => row.slice(0, 3)),
      ),
    ).toBeLessThan(1e-5);
    expect(largestDifference(fit.matrix, truth.matrix)).toBeLessThan(1e-3);
    const { pitch, yaw, roll } = fit.pose;
    expect(largestDifference([pitch, yaw, roll], truth.pose)).toBeLessThan(1e-3);
    expect(largestDifference(fit.residual, truth.residual)).toBeLessThan(1e-3);
    expect(fit.p).toHaveLength(234);
    const relative = truth.p.map(
      (value: number, index: number) => (fit.p[index] - value) / Math.max(1, Math.abs(value)),
    );
    expect(Math.max(...relative.map(Math.abs))).toBeLessThan(1e-4);
    expect(Object.keys(fit.expression)).toEqual(Object.keys(truth.expression));
    expect(largestDifference(fit.expression.jawOpen, truth.expression.jawOpen)).toBeLessThan(1e-3);
  }
});

test.each(cases)("face %i: weights of all units", (_, { weights, frames }) => {
  const units = new FaceUnits(
    Float64Array.from(arrays.get("landmark_mean").data),
    arrays.get("unit_weighted").data,
    arrays.get("unit_normal").data,
  );
  const found = units.weights(frames[0].fit.landmarks);
  expect(largestDifference(found, weights)).toBeLessThan(1e-3);
  expect(Math.max(...weights)).toBeGreaterThan(0.01);
});

test("a minimum between bounds", () => {
  // Without bounds it is (2, -1) - that is, A^-1 b.
  expect([...boundedMinimum([2, 1, 1, 2], [3, 0])]).toEqual([1, 0]);
  const [x, y] = boundedMinimum([2, 1, 1, 2], [1, 0.8]);
  expect(x).toBeCloseTo(0.4, 6);
  expect(y).toBeCloseTo(0.2, 6);
});

test("likely angles and rotations", () => {
  const { pitch, yaw, roll } = likelyAngles({ pitch: 0.3, yaw: 0, roll: 0.1 }, 1);
  expect([pitch, yaw, roll].map((angle) => Number(angle.toFixed(6)))).toEqual([0.15, 0, 0.05]);
  const quarter = rotationOf([0, 0, Math.PI / 2]).map((row) => row.map((value) => Math.round(value) + 0));
  expect(quarter).toEqual([
    [0, -1, 0],
    [1, 0, 0],
    [0, 0, 1],
  ]);
});

test("a face without a fit has a reason", () => {
  const { landmarks } = expected.fits[0].frames[0];
  expect(fitProblem(face(landmarks, null, 0.5))).toBeNull();
  expect(fitProblem(face(landmarks, null, 0.49))).toBe(CONSTANTS.fit.notConfident);
  const broken = landmarks.map((point: number[]) => [...point]);
  broken[3][2] = NaN;
  expect(fitProblem(face(broken))).toBe(CONSTANTS.fit.notFinite);
  const record = faceRecord({ ...face(landmarks), fitProblem: "why" });
  expect(record.fit_problem).toBe("why");
  expect(record.p).toBeUndefined();
});

test("the record of a fit", () => {
  const { landmarks } = expected.fits[0].frames[0];
  const mesh = fitter.fit(face(landmarks), 480);
  const record = faceRecord({ ...face(landmarks), mesh });
  expect(record.p).toHaveLength(234);
  expect(record.matrix!.map((row) => row.length)).toEqual([4, 4, 4, 4]);
  expect(record.residual).toBeCloseTo(mesh.residual, 3);
  expect(record.expression!.jawOpen).toBeCloseTo(mesh.expression.jawOpen, 3);
});

test("the picture of a face is clipped to the canvas and opaque within the face", () => {
  const { landmarks } = expected.geometry[0];
  const scaled = landmarks.map(([x, y, z]: number[]) => [x, y, z]);
  const mesh = fitter.fit(face(scaled), 480);
  const surface = drawSurface(mesh, 2000, 2000)!;
  const pixels = Array.from(
    { length: surface.width * surface.height },
    (_, pixel) => surface.data[4 * pixel + 3],
  );
  const covered = pixels.filter((alpha) => alpha === 255).length / pixels.length;
  expect(covered).toBeGreaterThan(0.4);
  expect(covered).toBeLessThan(1);
  const part = drawSurface(mesh, surface.x + 5, surface.y + 7)!;
  expect([part.x, part.y, part.width, part.height]).toEqual([surface.x, surface.y, 5, 7]);
  expect(drawSurface(mesh, surface.x, surface.y + 7)).toBeNull();
});

test("a file that holds no arrays is rejected", () => {
  expect(() => new Arrays(new Uint8Array(4), "x")).toThrow(
    "x: found 4 bytes that are not a safetensors file",
  );
  expect(() => arrays.get("none")).toThrow('found no array "none"');
  const bytes = new Uint8Array(readFileSync(FACE));
  expect(() => new Arrays(bytes.slice(0, 20_000), "x").get("directions")).toThrow("x: the file is cut off");
});
