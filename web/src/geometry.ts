/**
 * Rotations, boxes, crops and poses.
 *
 * Coordinates are 0-based pixels with pixel centres at integers, x right, y down, z in pixels and
 * larger nearer to the camera. Every function is pure.
 */

import { Matrix, SVD } from "ml-matrix";

import { CONSTANTS } from "./constants.js";
import { InputError } from "./errors.js";

/** x, y and z in pixels. */
export type Point = [number, number, number];
/** x and y in pixels. */
export type Point2 = [number, number];
/** Box x0, y0, x1, y1 in pixels. */
export type Box = [number, number, number, number];
/** Rows of a 2 x 3 affine map: [[a, b, c], [d, e, f]] maps (x, y) to (ax + by + c, dx + ey + f). */
export type Affine = [[number, number, number], [number, number, number]];
/** Rows of a 3 x 3 matrix. */
export type Matrix3 = [Point, Point, Point];
/** A square crop in the picture: centre and side in pixels. */
export interface Square {
  x: number;
  y: number;
  side: number;
}

/** Rotation of a head in radians, in the signs of 300W-LP's `Pose_Para`. */
export interface Angles {
  pitch: number;
  yaw: number;
  roll: number;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** R = Rx(pitch) Ry(yaw) Rz(roll), which acts on columns of a y-up frame with z to the viewer. */
export function rotationMatrix({ pitch, yaw, roll }: Angles): Matrix3 {
  const [cp, sp, cy, sy] = [Math.cos(pitch), Math.sin(pitch), Math.cos(yaw), Math.sin(yaw)];
  const [cr, sr] = [Math.cos(roll), Math.sin(roll)];
  return [
    [cy * cr, cy * sr, -sy],
    [sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy],
    [cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy],
  ];
}

/** Inverse of `rotationMatrix`. Yaw is in [-pi/2, pi/2]; at its ends (gimbal lock) roll is 0. */
export function eulerAngles(m: Matrix3): Angles {
  const yaw = Math.asin(clamp(-m[0][2], -1, 1));
  if (Math.abs(m[0][2]) > 1 - 1e-9) {
    return { pitch: Math.atan2(-m[2][1], m[1][1]), yaw, roll: 0 };
  }
  return { pitch: Math.atan2(m[1][2], m[2][2]), yaw, roll: Math.atan2(m[0][1], m[0][0]) };
}

/** Box of landmarks, unclipped. */
export function landmarkBox(landmarks: readonly (Point | Point2)[]): Box {
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of landmarks) {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  return checkBox(box);
}

/** Returns the box, or throws an `InputError` if it is not finite or has no area. */
export function checkBox(box: ArrayLike<number>): Box {
  const [x0, y0, x1, y1] = Array.from(box) as Box;
  if (box.length !== 4 || ![x0, y0, x1, y1].every(Number.isFinite) || !(x1 > x0) || !(y1 > y0)) {
    throw new InputError(`box: found [${Array.from(box).join(", ")}], expected finite x0 < x1 and y0 < y1`);
  }
  return [x0, y0, x1, y1];
}

export function longerSide(box: Box): number {
  return Math.max(box[2] - box[0], box[3] - box[1]);
}

/** sqrt(width x height) of a box. */
export function boxSize(box: Box): number {
  return Math.sqrt((box[2] - box[0]) * (box[3] - box[1]));
}

/** Intersection over union of two boxes. */
export function overlap(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const common = Math.max(width, 0) * Math.max(height, 0);
  return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common);
}

/** Square crop of a landmark box. */
export function cropSquare(box: Box): Square {
  const side = CONSTANTS.cropScale * longerSide(box);
  return { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, side };
}

/**
 * Affine map from pixels of a `size` x `size` crop to pixels of the picture.
 *
 * @param roll radians by which the crop is turned clockwise about its centre.
 */
export function cropToImage(square: Square, size: number, roll = 0): Affine {
  const scale = square.side / size;
  const [c, n] = [scale * Math.cos(roll), scale * Math.sin(roll)];
  const half = (size - 1) / 2;
  return [
    [c, -n, square.x - (c - n) * half],
    [n, c, square.y - (n + c) * half],
  ];
}

export function invertAffine([[a, b, c], [d, e, f]]: Affine): Affine {
  const determinant = a * e - b * d;
  const [p, q, r, s] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [
    [p, q, -(p * c + q * f)],
    [r, s, -(r * c + s * f)],
  ];
}

/** Applies a similarity map to landmarks; z is multiplied by its scale. */
export function transformLandmarks([[a, b, c], [d, e, f]]: Affine, landmarks: readonly Point[]): Point[] {
  const scale = Math.sqrt(Math.abs(a * e - b * d));
  return landmarks.map(([x, y, z]) => [a * x + b * y + c, d * x + e * y + f, scale * z]);
}

/** Best rotation of the mean face onto landmarks, and how far the two then differ. */
interface Alignment {
  /** In a y-up frame. */
  rotation: Matrix3;
  /** Procrustes distance: 0 for the mean face at any place, size and turn, 1 for nothing in common. */
  residual: number;
}

/** The mean face, y up, moved to its centroid, and its norm. */
const REFERENCE = centred(CONSTANTS.meanShape);

function centred(landmarks: readonly Point[]): { points: Point[]; norm: number } {
  const mean: Point = [0, 0, 0];
  for (const point of landmarks)
    for (let axis = 0; axis < 3; axis++) mean[axis] += point[axis] / landmarks.length;
  const points = landmarks.map(([x, y, z]): Point => [x - mean[0], mean[1] - y, z - mean[2]]);
  const norm = Math.sqrt(points.reduce((sum, [x, y, z]) => sum + x * x + y * y + z * z, 0));
  return { points, norm };
}

/**
 * The rotation of points that brings them nearest to others, both about their centroids.
 *
 * @returns it, and the sum of the products of the turned points and the others.
 */
export function procrustes(
  target: readonly Point[],
  points: readonly Point[],
): { rotation: Matrix3; sum: number } {
  const covariance = [
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
  ];
  for (let index = 0; index < target.length; index++) {
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 3; column++) {
        covariance[row][column] += target[index][row] * points[index][column];
      }
    }
  }
  const { leftSingularVectors: u, rightSingularVectors: v, diagonal } = new SVD(new Matrix(covariance));
  const sign = Math.sign(determinant3(u) * determinant3(v));
  const rotation = u.mmul(Matrix.diag([1, 1, sign])).mmul(v.transpose());
  return {
    rotation: rotation.to2DArray() as Matrix3,
    sum: diagonal[0] + diagonal[1] + sign * diagonal[2],
  };
}

/** Procrustes alignment of the mean face to landmarks (68 points). */
export function alignMeanFace(landmarks: readonly Point[]): Alignment {
  const target = centred(landmarks);
  const { rotation, sum } = procrustes(target.points, REFERENCE.points);
  const cosine = sum / (target.norm * REFERENCE.norm);
  return { rotation, residual: Math.sqrt(Math.max(0, 1 - cosine * cosine)) };
}

function determinant3(matrix: Matrix): number {
  const [[a, b, c], [d, e, f], [g, h, i]] = matrix.to2DArray() as Matrix3;
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

/** Head pose of landmarks (68 points) in radians. */
export function poseFromLandmarks(landmarks: readonly Point[]): Angles {
  return eulerAngles(alignMeanFace(landmarks).rotation);
}

/** Distance of a face from the mean face after the best similarity. */
export function shapeResidual(landmarks: readonly Point[]): number {
  return alignMeanFace(landmarks).residual;
}

/** Angle in radians by which a face is turned clockwise in the picture plane. */
export function uprightRoll(landmarks: readonly Point[]): number {
  const rotation = rotationMatrix(poseFromLandmarks(landmarks));
  return Math.atan2(rotation[0][1], rotation[1][1]);
}

/** Box that, turned by `roll` about its centre, bounds the landmarks tightly. */
export function uprightBox(landmarks: readonly Point[], roll: number): Box {
  const [c, n] = [Math.cos(roll), Math.sin(roll)];
  const [x0, y0, x1, y1] = landmarkBox(landmarks.map(([x, y]): Point2 => [c * x + n * y, -n * x + c * y]));
  const [middleX, middleY] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const [x, y] = [c * middleX - n * middleY, n * middleX + c * middleY];
  const [halfWidth, halfHeight] = [(x1 - x0) / 2, (y1 - y0) / 2];
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
}
