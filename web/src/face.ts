/** A face of a picture, and its form as JSON. */

import { MIN_CONFIDENCE } from "./constants.js";
import type { FaceFit } from "./fit.js";
import type { Box, Point } from "./geometry.js";

/** Head rotation in degrees; roll is positive if the head is turned clockwise in the picture. */
export interface Pose {
  pitch: number;
  yaw: number;
  roll: number;
}

export interface Face {
  /** 68 points: x and y in 0-based pixels of the picture; z in pixels, larger is nearer to the camera. */
  landmarks: Point[];
  /** Landmark box in pixels of the picture, as given, detected or followed. */
  box: Box;
  /** Score of the detection, 0.5 to 1; null if the box was given or followed. */
  score: number | null;
  pose: Pose;
  /** Number of the face in a video; null in a photo. */
  id: number | null;
  /** 0 to 1 per landmark: how likely it is to be seen; null for a model without this output. */
  visibility: number[] | null;
  /** 0 to 1: how likely the landmarks are right; null for a model without this output. */
  confidence: number | null;
  /** The whole face, if it was asked for and could be fitted; `pose` is then that of the fit. */
  mesh?: FaceFit;
  /** Why there is no whole face, if it was asked for. */
  fitProblem?: string;
}

/** Whether the confidence of a face is high enough; a face without one is convincing. */
export function isConvincing(face: Face, minConfidence = MIN_CONFIDENCE): boolean {
  return face.confidence === null || face.confidence >= minConfidence;
}

/** The JSON form of a face, the same as that of the Python package. */
export interface FaceRecord {
  id?: number;
  box: number[];
  score: number | null;
  pose: Pose;
  confidence?: number;
  landmarks: number[][];
  visibility?: number[];
  p?: number[];
  matrix?: number[][];
  residual?: number;
  expression?: Record<string, number>;
  fit_problem?: string;
}

/** Pixels to 1/1000, angles to 1/100; `id`, `visibility`, `confidence` and the fit only if the face has them. */
export function faceRecord(face: Face): FaceRecord {
  const { pitch, yaw, roll } = face.pose;
  return {
    ...(face.id === null ? {} : { id: face.id }),
    box: face.box.map((value) => rounded(value, 3)),
    score: face.score === null ? null : rounded(face.score, 4),
    pose: { pitch: rounded(pitch, 2), yaw: rounded(yaw, 2), roll: rounded(roll, 2) },
    ...(face.confidence === null ? {} : { confidence: rounded(face.confidence, 4) }),
    landmarks: face.landmarks.map((point) => point.map((value) => rounded(value, 3))),
    ...(face.visibility === null ? {} : { visibility: face.visibility.map((value) => rounded(value, 3)) }),
    ...(face.fitProblem === undefined ? {} : { fit_problem: face.fitProblem }),
    ...(face.mesh === undefined ? {} : fitRecord(face.mesh)),
  };
}

function fitRecord({ p, matrix, residual, expression }: FaceFit): Partial<FaceRecord> {
  const weights = Object.entries(expression).map(([name, weight]) => [name, rounded(weight, 3)]);
  return {
    p: Array.from(p, (value) => Number(value.toPrecision(6))),
    matrix: matrix.map((row) => row.map((value) => rounded(value, 6))),
    residual: rounded(residual, 3),
    expression: Object.fromEntries(weights),
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
