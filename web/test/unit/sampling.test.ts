/** Crops, letterboxes and detections are those of the Python package. */

import { expect, test } from "vitest";

import { CONSTANTS } from "../../src/constants.js";
import { cutCrop } from "../../src/crops.js";
import { anchors, decode, FaceDetector, landmarkBoxOfDetection, mergeAnswers } from "../../src/detector.js";
import type { Box } from "../../src/geometry.js";
import type { Network } from "../../src/network.js";
import { Outputs } from "../../src/network.js";
import { letterbox, roundHalfEven } from "../../src/pixels.js";
import type { Pixels } from "../../src/pixels.js";
import { expected, largestDifference } from "../data.js";

function toPixels(image: number[][][]): Pixels {
  const data = new Uint8ClampedArray(image.flatMap((row) => row.flatMap((colour) => [...colour, 255])));
  return { data, width: image[0].length, height: image.length };
}

const image = toPixels(expected.sampling.image);

const crops: [Box, number, any][] = expected.sampling.crops.map((crop: any) => [crop.box, crop.size, crop]);

test.each(crops)("crop of %j, %i pixels wide", (box, size, crop) => {
  const { data, toImage } = cutCrop(image, box, size, crop.roll);
  expect(largestDifference(toImage, crop.matrix)).toBeLessThan(1e-9);
  expect(largestDifference(data, crop.crop)).toBeLessThanOrEqual(1);
  const values = crop.crop.flat(2);
  const sum = data.reduce((total, value, index) => total + Math.abs(value - values[index]), 0);
  expect(sum / data.length).toBeLessThan(0.01);
});

const letterboxes: [number, number, any][] = expected.sampling.letterboxes.map((box: any) => [
  box.size,
  box.margin,
  box,
]);

test("a letterbox of a picture whose sides are getters, as those of an ImageData are", () => {
  class Picture {
    data = image.data;
    get width() {
      return image.width;
    }
    get height() {
      return image.height;
    }
  }
  const small = Math.floor(Math.min(image.width, image.height) / 5); // reduced by halving
  expect(letterbox(new Picture(), small)).toEqual(letterbox(image, small));
});

test.each(letterboxes)("letterbox of %i pixels with margin %i", (size, margin, box) => {
  const { data, scale, offset } = letterbox(image, size, margin);
  expect(largestDifference(scale, box.scale)).toBeLessThan(1e-12);
  expect(offset).toEqual(box.offset);
  expect(largestDifference(data, box.square)).toBeLessThanOrEqual(1);
});

test("half is rounded to even", () => {
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6].map(roundHalfEven)).toEqual([0, 2, 2, -0, -2, 2, 3]);
});

test("anchors, decoding, merging and the box map", () => {
  const { answers, scores, merged, boxes, ...detection } = expected.detection;
  const centres = anchors(CONSTANTS.detectors.full);
  expect(largestDifference(centres, detection.anchors)).toBe(0);
  const found = mergeAnswers(decode(answers.flat(), centres), scores);
  expect(found.length).toBe(merged.length);
  expect(found.length).toBeGreaterThan(5);
  found.forEach(([points, score], index) => {
    expect(score).toBe(merged[index].score);
    expect(largestDifference(points, merged[index].points)).toBeLessThan(1e-9);
    for (const range of ["full", "short"] as const) {
      const box = landmarkBoxOfDetection(points[0], points[1], points.slice(2), CONSTANTS.detectors[range]);
      expect(largestDifference(box, boxes[range][index])).toBeLessThan(1e-9);
    }
  });
});

/** A BlazeFace that finds one face. */
function network(config = CONSTANTS.detectors.short): Network {
  const count = anchors(config).length;
  return {
    name: "fake",
    inputs: [{ name: "input", dtype: "float32", shape: [1, config.size, config.size, 3] }],
    outputs: [],
    signatures: [],
    async run() {
      const points = new Float32Array(count * 16);
      const scores = new Float32Array(count).fill(-9);
      scores[100] = 3;
      points.set([0, 0, 40, 40, -8, -8, 8, -8, 0, 0, 0, 8, -16, -4, 16, -4], 100 * 16);
      return new Outputs([
        ["points", points],
        ["scores", scores],
      ]);
    },
    close() {},
  };
}

test("a look with a margin gives pixels of the picture", async () => {
  const [face, ...others] = await new FaceDetector(network(), CONSTANTS.detectors.short).look(image, 2);
  expect(others).toEqual([]);
  expect(face.score).toBeCloseTo(1 / (1 + Math.exp(-3)), 6);
  // The picture (80 x 60) takes 64 x 48 of 128 x 128 pixels, from (32, 40).
  const [x, y] = anchors(CONSTANTS.detectors.short)[100];
  expect(face.keypoints[2][0]).toBeCloseTo(((x - 32) * 80) / 64 - 0.5, 5);
  expect(face.keypoints[2][1]).toBeCloseTo(((y - 40) * 60) / 48 - 0.5, 5);
});

test("a detector with another input is rejected", () => {
  expect(() => new FaceDetector(network(), CONSTANTS.detectors.full)).toThrow("expected (1, 256, 256, 3)");
});
