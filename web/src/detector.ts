/** Faces in a picture: BlazeFace, and the map from its boxes to landmark boxes. */

import { CONSTANTS } from "./constants.js";
import type { DetectorConstants } from "./constants.js";
import { clamp, overlap } from "./geometry.js";
import type { Box, Point2 } from "./geometry.js";
import type { Network } from "./network.js";
import { InputError } from "./errors.js";
import { letterbox } from "./pixels.js";
import type { Pixels } from "./pixels.js";

/** A detected face. */
export interface Detection {
  /** Landmark box in pixels of the picture. */
  box: Box;
  /** From 0.5 to 1. */
  score: number;
  /** Eyes, nose tip, mouth and ears in pixels of the picture. */
  keypoints: Point2[];
}

/** Numbers of one answer of the network: centre and size of a box, and six keypoints. */
const NUMBERS = 16;

/** A BlazeFace network with its settings. */
export class FaceDetector {
  private readonly anchors: Point2[];

  constructor(
    private readonly network: Network,
    private readonly config: DetectorConstants,
  ) {
    this.anchors = anchors(config);
    const [input] = network.inputs;
    const expected = [1, config.size, config.size, 3];
    if (network.inputs.length !== 1 || input.shape.join() !== expected.join()) {
      throw new InputError(
        `detector ${network.name}: found the input shape (${input.shape.join(", ")}), ` +
          `expected (${expected.join(", ")})`,
      );
    }
  }

  /** Searches a picture within a black square whose side is `margin` times its longer side, best face first. */
  async look(image: Pixels, margin = 1): Promise<Detection[]> {
    const { size } = this.config;
    const canvas = letterbox(image, size, margin);
    const input = canvas.data;
    for (let index = 0; index < input.length; index++) input[index] = input[index] / 127.5 - 1;
    const outputs = await this.network.run([{ data: input, shape: [1, size, size, 3] }]);
    const points = outputs.find((values) => values.length === this.anchors.length * NUMBERS);
    const logits = outputs.find((values) => values.length === this.anchors.length);
    if (!points || !logits) throw new InputError(`detector ${this.network.name}: found unexpected outputs`);
    const scores = Array.from(logits, (logit) => 1 / (1 + Math.exp(-clamp(logit, -80, 80))));
    const { scale, offset } = canvas;
    const likely = [...scores.keys()].filter((index) => scores[index] > CONSTANTS.detection.minScore);
    const answers = decode(points, this.anchors, likely);
    const likelyScores = likely.map((index) => scores[index]);
    return mergeAnswers(answers, likelyScores).map(([merged, score]) => {
      const [low, high, ...keypoints] = merged.map(([x, y]): Point2 => [
        (x - offset[0]) / scale[0] - 0.5,
        (y - offset[1]) / scale[1] - 0.5,
      ]);
      return { box: landmarkBoxOfDetection(low, high, keypoints, this.config), score, keypoints };
    });
  }

  close(): void {
    this.network.close();
  }
}

/** Centres of the cells to which the network's answers refer, in pixels of its input. */
export function anchors({ size, anchors: grids }: DetectorConstants): Point2[] {
  const centres: Point2[] = [];
  for (const [cells, repeats] of grids) {
    const step = size / cells;
    for (let row = 0; row < cells; row++) {
      for (let column = 0; column < cells; column++) {
        for (let repeat = 0; repeat < repeats; repeat++)
          centres.push([(column + 0.5) * step, (row + 0.5) * step]);
      }
    }
  }
  return centres;
}

/**
 * Points of the network's answers: two corners of the box and six keypoints each.
 *
 * @param answers 16 numbers for each of the `centres`: centre and size of a box, then six keypoints,
 *   in pixels from the centre of the cell.
 * @param chosen numbers of the answers to decode; by default all.
 */
export function decode(
  answers: ArrayLike<number>,
  centres: readonly Point2[],
  chosen: readonly number[] = [...centres.keys()],
): Point2[][] {
  return chosen.map((index) => {
    const [x, y] = centres[index];
    const at = index * NUMBERS;
    const [width, height] = [answers[at + 2], answers[at + 3]];
    const [middleX, middleY] = [x + answers[at], y + answers[at + 1]];
    const points: Point2[] = [
      [middleX - width / 2, middleY - height / 2],
      [middleX + width / 2, middleY + height / 2],
    ];
    for (let number = 4; number < NUMBERS; number += 2) {
      points.push([x + answers[at + number], y + answers[at + number + 1]]);
    }
    return points;
  });
}

/**
 * One answer for each face: the mean of all answers that overlap with the most certain one, weighted
 * by their scores. Sorted by falling score.
 */
export function mergeAnswers(points: readonly Point2[][], scores: readonly number[]): [Point2[], number][] {
  const { minScore, sameFace } = CONSTANTS.detection;
  const boxes = points.map(([low, high]): Box => [low[0], low[1], high[0], high[1]]);
  let order = points
    .map((_, index) => index)
    .filter((index) => {
      const box = boxes[index];
      return scores[index] > minScore && box[2] > box[0] && box[3] > box[1];
    })
    .sort((a, b) => scores[b] - scores[a] || a - b);
  const faces: [Point2[], number][] = [];
  while (order.length > 0) {
    const best = order[0];
    const same = order.filter((index) => overlap(boxes[best], boxes[index]) > sameFace);
    const total = same.reduce((sum, index) => sum + scores[index], 0);
    const merged = points[best].map((_, number): Point2 => {
      const mean: Point2 = [0, 0];
      for (const index of same) {
        mean[0] += (scores[index] / total) * points[index][number][0];
        mean[1] += (scores[index] / total) * points[index][number][1];
      }
      return mean;
    });
    faces.push([merged, scores[best]]);
    const merge = new Set(same);
    order = order.filter((index) => !merge.has(index));
  }
  return faces;
}

/**
 * Maps a detection to the landmark box.
 *
 * @param low, high corners of the network's box in pixels of the picture.
 * @param keypoints left eye, right eye, nose tip, mouth, left ear, right ear.
 * @param map of the network.
 */
export function landmarkBoxOfDetection(
  low: Point2,
  high: Point2,
  keypoints: readonly Point2[],
  { centreX, centreYAndSize }: Pick<DetectorConstants, "centreX" | "centreYAndSize">,
): Box {
  const { sizeRange } = CONSTANTS.detection;
  const centre: Point2 = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const side = (high[0] - low[0] + high[1] - low[1]) / 2;
  const points = keypoints.map(([x, y]): Point2 => [(x - centre[0]) / side, (y - centre[1]) / side]);
  const middle = (a: Point2, b: Point2): Point2 => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const [eyes, nose, ears] = [middle(points[0], points[1]), points[2], middle(points[4], points[5])];
  const betweenEars = Math.hypot(points[5][0] - points[4][0], points[5][1] - points[4][1]);
  const x = centreX[0] * eyes[0] + centreX[1] * nose[0] + centreX[2] * ears[0];
  const features = [1, eyes[1], nose[1], ears[1], Math.abs(nose[0] - eyes[0]), betweenEars];
  const [y, width, height] = [0, 1, 2].map((column) =>
    features.reduce((sum, feature, row) => sum + feature * centreYAndSize[row][column], 0),
  );
  const halfWidth = clamp(width, ...sizeRange) / 2;
  const halfHeight = clamp(height, ...sizeRange) / 2;
  return [
    centre[0] + side * (x - halfWidth),
    centre[1] + side * (y - halfHeight),
    centre[0] + side * (x + halfWidth),
    centre[1] + side * (y + halfHeight),
  ];
}
