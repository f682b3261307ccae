/**
 * The whole face of 68 landmarks: the open face (CC0) fitted under its prior, as by `tf_dhm/face/fit.py`.
 *
 * Frames. Head: centimetres, x right in a picture of the face, y up, z to the viewer, origin at the mean of
 * the landmarks of the mean face. Camera: centimetres, x right, y down, z forward. Picture: 0-based pixels;
 * z in pixels, larger is nearer. The projection is parallel.
 */

import { CholeskyDecomposition, Matrix } from "ml-matrix";

import { Arrays } from "./arrays.js";
import type { NumberArray } from "./arrays.js";
import { CONSTANTS, NUM_LANDMARKS } from "./constants.js";
import { InputError } from "./errors.js";
import { FaceUnits } from "./expression.js";
import type { Face, Pose } from "./face.js";
import { eulerAngles, landmarkBox, boxSize, procrustes } from "./geometry.js";
import type { Angles, Matrix3, Point, Point2 } from "./geometry.js";
import { fetchBytes } from "./network.js";

/** The open face fitted to the landmarks of one face. */
export interface FaceFit {
  /**
   * 234 numbers: scale in pixels per centimetre, pitch, yaw and roll in radians, x and y of the translation,
   * 199 identity and 29 expression parameters of the open face; see docs/mesh.md in the repository.
   */
  p: Float64Array;
  /** x, y, z of every vertex in turn, in pixels of the picture; z: larger is nearer. */
  vertices: Float32Array;
  /** The same vertices in the head's frame, in centimetres. */
  head: Float32Array;
  /** Corners of every triangle in turn, counter-clockwise if seen from outside. */
  triangles: Uint16Array;
  /** Those of the face alone, without skull, neck and the inside of the mouth. */
  faceTriangles: Uint16Array;
  /** The given landmarks in the head's frame. */
  landmarks: Point[];
  /** Rows of the rigid 4 x 4 matrix from the head's frame to the camera's. */
  matrix: number[][];
  /** Pixels per centimetre at the head. */
  scale: number;
  pose: Pose;
  /** Distance of the landmarks from the fit, in percent of the size of their box. */
  residual: number;
  /** Weights from 0 to 1 of the face units that 68 landmarks of a network show. */
  expression: Record<string, number>;
  /** The shape in the reduced directions, from which the fit of the next frame may start. */
  state: Float64Array;
}

const N = NUM_LANDMARKS;
const FLIP = [1, -1, 1] as const;
const { noise, depthNoise, hiddenNoise, rotationNoise, toCamera } = CONSTANTS.fit;
/** Rotation, shift and scale come before the shape in the unknowns. */
const RIGID = 7;

/** Why a face has no fit, or null. */
export function fitProblem({ landmarks, confidence }: Face): string | null {
  if (!landmarks.flat().every(Number.isFinite)) return CONSTANTS.fit.notFinite;
  return confidence !== null && confidence < CONSTANTS.fit.minConfidence ? CONSTANTS.fit.notConfident : null;
}

export class FaceFitter {
  private readonly triangles: Uint16Array;
  private readonly faceTriangles: Uint16Array;
  private readonly mean: Float32Array;
  private readonly directions: Int16Array;
  private readonly step: Float32Array;
  private readonly size: number;
  /** Landmarks of the mean face, (3, 68), and how far each direction moves them, (3, 68, size). */
  private readonly landmarkMean: Float64Array;
  private readonly landmarkDirections: Float64Array;
  private readonly first: Float32Array;
  private readonly style: Float64Array;
  private readonly components: NumberArray;
  private readonly toPose: Matrix3;
  private readonly units: FaceUnits;

  /** @param arrays written by `tools/web_face.py`. */
  constructor(arrays: Arrays) {
    const get = <T>(name: string) => arrays.get(name).data as unknown as T;
    this.triangles = get("triangles");
    const isFace = get<Uint8Array>("face");
    this.faceTriangles = this.triangles.filter((_, index, all) => {
      const first = index - (index % 3);
      return [0, 1, 2].every((corner) => isFace[all[first + corner]]);
    });
    this.mean = get("mean");
    this.directions = get("directions");
    this.step = get("direction_step");
    this.size = this.step.length;
    this.landmarkMean = Float64Array.from(arrays.get("landmark_mean").data);
    this.landmarkDirections = Float64Array.from(arrays.get("landmark_directions").data);
    this.first = get("first");
    this.style = Float64Array.from(arrays.get("style").data);
    this.components = arrays.get("components");
    const turn = arrays.get("to_pose").data;
    this.toPose = [0, 1, 2].map((row) => Array.from(turn.subarray(3 * row, 3 * row + 3))) as Matrix3;
    this.units = new FaceUnits(
      this.landmarkMean,
      arrays.get("unit_weighted").data,
      arrays.get("unit_normal").data,
    );
  }

  /** Downloads the open face. */
  static async load(url: string): Promise<FaceFitter> {
    return new FaceFitter(new Arrays(await fetchBytes(url), url.split("/").at(-1)!));
  }

  /**
   * Fits a face whose landmarks are finite; see `fitProblem`.
   *
   * @param height of the picture in pixels, on which the translation in `p` depends.
   * @param start the fit of the last frame.
   */
  fit({ landmarks, visibility }: Face, height: number, start?: FaceFit): FaceFit {
    if (landmarks.length !== N) {
      throw new InputError(`landmarks: found ${landmarks.length} points, expected ${N}`);
    }
    const middle = [0, 1, 2].map((axis) => FLIP[axis] * mean(landmarks.map((point) => point[axis])));
    const flat = new Float64Array(3 * N); // y up, centred
    const root = new Float64Array(3 * N); // of the weights
    landmarks.forEach((point, index) => {
      const hidden = visibility ? 1 - visibility[index] : 0;
      const deviation = noise * (1 + (hiddenNoise - 1) * hidden);
      for (let axis = 0; axis < 3; axis++) {
        flat[axis * N + index] = FLIP[axis] * point[axis] - middle[axis];
        root[axis * N + index] = 1 / (axis === 2 ? deviation * depthNoise : deviation);
      }
    });
    const state = this.start(flat, start);
    this.solve(flat, root, state);
    return this.result(landmarks, flat, state, middle, height);
  }

  /** The mean face, or that of the last frame, turned to the landmarks; the mean face then moved to them. */
  private start(flat: Float64Array, last?: FaceFit): State {
    const shape = last ? last.state.slice() : new Float64Array(this.size);
    const face = this.landmarksOf(shape, this.style);
    centre(face);
    const { rotation, sum } = procrustes(toPoints(flat), toPoints(face));
    if (!last) {
      const scale = sum / face.reduce((total, value) => total + value * value, 0);
      const turned = rotate(transpose(rotation), flat);
      for (let row = 0; row < 3 * N; row++) {
        const residual = turned[row] / scale - face[row];
        for (let k = 0; k < this.size; k++) shape[k] += residual * this.first[row * this.size + k];
      }
    }
    return { rotation, shift: [0, 0, 0], scale: 1, shape };
  }

  /** Gauss-Newton on rotation, shift, scale and shape. */
  private solve(flat: Float64Array, root: Float64Array, state: State): void {
    const { size } = this;
    const width = RIGID + size;
    const centred = this.landmarkMean.slice();
    centre(centred);
    const spread = norm(centred);
    const unit = norm(flat) / spread; // pixels per centimetre
    let extra = 0; // the logarithm of what the scale grows by
    for (let iteration = 0; iteration < CONSTANTS.fit.iterations; iteration++) {
      const face = rotate(state.rotation, this.landmarksOf(state.shape, this.style));
      const moved = rotate(state.rotation, this.landmarkDirections);
      const growth = Math.exp(extra);
      const jacobian = new Float64Array(3 * N * width);
      const residual = new Float64Array(3 * N);
      for (let index = 0; index < N; index++) {
        const [x, y, z] = [face[index], face[N + index], face[2 * N + index]];
        // Derivatives by a small turn: e x face.
        const turns = [
          [0, z, -y],
          [-z, 0, x],
          [y, -x, 0],
        ];
        for (let axis = 0; axis < 3; axis++) {
          const row = axis * N + index;
          const scaled = growth * face[row];
          const weight = root[row];
          const at = row * width;
          for (let turn = 0; turn < 3; turn++) jacobian[at + turn] = weight * growth * turns[axis][turn];
          jacobian[at + 3 + axis] = weight;
          jacobian[at + 6] = weight * scaled;
          for (let k = 0; k < size; k++) jacobian[at + RIGID + k] = weight * growth * moved[row * size + k];
          residual[row] = weight * (flat[row] / unit - scaled - state.shift[axis]);
        }
      }
      const step = this.normalStep(jacobian, residual, state.shape);
      state.rotation = multiply(rotationOf([step[0], step[1], step[2]]), state.rotation);
      for (let axis = 0; axis < 3; axis++) state.shift[axis] += step[3 + axis];
      extra += step[6];
      for (let k = 0; k < size; k++) state.shape[k] += step[RIGID + k];
    }
    for (let axis = 0; axis < 3; axis++) state.shift[axis] /= Math.exp(extra);
    state.scale = unit * Math.exp(extra);
  }

  /** The step of Gauss-Newton: least squares with the standard normal prior of the shape. */
  private normalStep(jacobian: Float64Array, residual: Float64Array, shape: Float64Array): number[] {
    const width = RIGID + this.size;
    const normal = Array.from({ length: width }, () => new Float64Array(width));
    const right = new Float64Array(width);
    for (let row = 0; row < 3 * N; row++) {
      const line = jacobian.subarray(row * width, (row + 1) * width);
      for (let i = 0; i < width; i++) {
        const value = line[i];
        if (value === 0) continue;
        right[i] += value * residual[row];
        const target = normal[i];
        for (let j = 0; j <= i; j++) target[j] += value * line[j];
      }
    }
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < i; j++) normal[j][i] = normal[i][j];
      if (i < RIGID) continue;
      normal[i][i] += 1;
      right[i] -= shape[i - RIGID];
    }
    return new CholeskyDecomposition(normal).solve(Matrix.columnVector(Array.from(right))).to1DArray();
  }

  private result(
    given: readonly Point[],
    flat: Float64Array,
    { rotation, shift, scale, shape }: State,
    middle: readonly number[],
    height: number,
  ): FaceFit {
    const head = this.vertices(shape);
    const face = this.landmarksOf(shape);
    const centres = [0, 1, 2].map((axis) => mean(face.subarray(axis * N, (axis + 1) * N)));
    const centreZ = dot(rotation[2], centres);
    const place = [shift[0] + middle[0] / scale, shift[1] + middle[1] / scale, 0];
    // Depth is measured from the middle of the landmarks.
    const vertices = new Float32Array(head.length);
    const [across, up, near] = rotation.map((row) => row.map((value) => scale * value));
    for (let at = 0; at < head.length; at += 3) {
      const [x, y, z] = [head[at], head[at + 1], head[at + 2]];
      vertices[at] = across[0] * x + across[1] * y + across[2] * z + scale * place[0];
      vertices[at + 1] = -(up[0] * x + up[1] * y + up[2] * z + scale * place[1]);
      vertices[at + 2] = near[0] * x + near[1] * y + near[2] * z - scale * centreZ;
    }

    /** A point of the head's frame in the picture. */
    const draw = (point: readonly number[]): Point2 => [
      scale * (dot(rotation[0], point) + place[0]),
      -scale * (dot(rotation[1], point) + place[1]),
    ];
    let square = 0;
    const drawn = [0, 0];
    const inHead: Point[] = [];
    for (let index = 0; index < N; index++) {
      const vertex = [face[index], face[N + index], face[2 * N + index]];
      const [x, y] = draw(vertex);
      drawn[0] += x / N;
      drawn[1] += y / N;
      const style = [this.style[index], this.style[N + index], this.style[2 * N + index]];
      const [styledX, styledY] = draw(vertex.map((value, axis) => value + style[axis]));
      square += ((styledX - given[index][0]) ** 2 + (styledY - given[index][1]) ** 2) / N;
      const straight = [0, 1, 2].map((axis) => flat[axis * N + index] / scale - shift[axis]);
      const local = [0, 1, 2].map((axis) => dot(transpose(rotation)[axis], straight) - style[axis]);
      inHead.push(local as Point);
    }

    const angles = eulerAngles(rotation);
    const p = new Float64Array(6 + this.components.shape[1]);
    const [x, y] = [drawn[0] + 1, height - drawn[1]]; // 1-based, y up
    p.set([scale, angles.pitch, angles.yaw, angles.roll]);
    p.set([x - scale * dot(rotation[0], centres), y - scale * dot(rotation[1], centres)], 4);
    for (let k = 0; k < this.size; k++) {
      const line = this.components.data.subarray(k * (p.length - 6), (k + 1) * (p.length - 6));
      for (let index = 0; index < line.length; index++) p[6 + index] += shape[k] * line[index];
    }
    return {
      p,
      vertices,
      head,
      triangles: this.triangles,
      faceTriangles: this.faceTriangles,
      landmarks: inHead,
      matrix: [
        ...rotation.map((row, axis) => [...row, place[axis]].map((value) => toCamera[axis] * value)),
        [0, 0, 0, 1],
      ],
      scale,
      pose: degrees(likelyAngles(eulerAngles(multiply(rotation, transpose(this.toPose))), rotationNoise)),
      residual: (100 * Math.sqrt(square)) / boxSize(landmarkBox(given)),
      expression: this.units.offered(inHead),
      state: shape,
    };
  }

  /** x, y, z of every vertex of a reduced shape, in the head's frame. */
  private vertices(shape: Float64Array): Float32Array {
    const { directions, size, step } = this;
    const head = this.mean.slice();
    const at = (k: number) => Math.min(k, size - 1) * head.length;
    const weight = (k: number) => (k < size ? shape[k] * step[k] : 0);
    // Four directions at a time, because writing the vertices is what takes time.
    for (let k = 0; k < size; k += 4) {
      const [atA, atB, atC, atD] = [at(k), at(k + 1), at(k + 2), at(k + 3)];
      const [a, b, c, d] = [weight(k), weight(k + 1), weight(k + 2), weight(k + 3)];
      for (let index = 0; index < head.length; index++) {
        head[index] +=
          a * directions[atA + index] +
          b * directions[atB + index] +
          c * directions[atC + index] +
          d * directions[atD + index];
      }
    }
    return head;
  }

  /** Landmarks (3, 68) of a reduced shape in the head's frame, moved by `offset`. */
  private landmarksOf(shape: Float64Array, offset?: Float64Array): Float64Array {
    const face = this.landmarkMean.slice();
    for (let row = 0; row < face.length; row++) {
      if (offset) face[row] += offset[row];
      const at = row * this.size;
      for (let k = 0; k < this.size; k++) face[row] += shape[k] * this.landmarkDirections[at + k];
    }
    return face;
  }
}

/** What Gauss-Newton moves. */
interface State {
  /** From the head to axes with y up and z to the viewer. */
  rotation: Matrix3;
  shift: Point;
  /** Pixels per centimetre. */
  scale: number;
  /** In the reduced directions. */
  shape: Float64Array;
}

/**
 * The likeliest pitch, yaw and roll near those of a rotation that is known up to a little noise; see
 * `likely_angles` in `tf_dhm/face/camera.py`.
 */
export function likelyAngles({ pitch, yaw, roll }: Angles, noise: number): Angles {
  if (noise === 0) return { pitch, yaw, roll };
  const sine = Math.sin(yaw);
  const total = ((pitch + roll) * (1 - sine)) / (1 - sine + noise ** 2);
  const difference = ((pitch - roll) * (1 + sine)) / (1 + sine + noise ** 2);
  return { pitch: (total + difference) / 2, yaw, roll: (total - difference) / 2 };
}

/** Rotation matrix of a rotation vector: Rodrigues' formula. */
export function rotationOf(vector: Point): Matrix3 {
  const angle = Math.hypot(...vector) + 1e-12; // never 0
  const [x, y, z] = vector.map((value) => value / angle);
  const [c, s, t] = [Math.cos(angle), Math.sin(angle), 1 - Math.cos(angle)];
  return [
    [c + t * x * x, t * x * y - s * z, t * x * z + s * y],
    [t * x * y + s * z, c + t * y * y, t * y * z - s * x],
    [t * x * z - s * y, t * y * z + s * x, c + t * z * z],
  ];
}

function degrees({ pitch, yaw, roll }: Angles): Pose {
  const [a, b, c] = [pitch, yaw, roll].map((angle) => (angle * 180) / Math.PI);
  return { pitch: a, yaw: b, roll: c };
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function transpose(m: Matrix3): Matrix3 {
  return [0, 1, 2].map((row) => [0, 1, 2].map((column) => m[column][row])) as Matrix3;
}

function multiply(a: Matrix3, b: Matrix3): Matrix3 {
  const columns = transpose(b);
  return a.map((row) => columns.map((column) => dot(row, column))) as Matrix3;
}

/** A rotation applied to values (3, M). */
function rotate(rotation: Matrix3, values: Float64Array): Float64Array {
  const count = values.length / 3;
  const turned = new Float64Array(values.length);
  for (let axis = 0; axis < 3; axis++) {
    const [a, b, c] = rotation[axis];
    for (let index = 0; index < count; index++) {
      turned[axis * count + index] =
        a * values[index] + b * values[count + index] + c * values[2 * count + index];
    }
  }
  return turned;
}

function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += values[index];
  return sum / values.length;
}

function norm(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** Moves points (3, 68) to their centroid. */
function centre(values: Float64Array): void {
  for (let axis = 0; axis < 3; axis++) {
    const row = values.subarray(axis * N, (axis + 1) * N);
    const middle = mean(row);
    for (let index = 0; index < N; index++) row[index] -= middle;
  }
}

function toPoints(values: Float64Array): Point[] {
  return Array.from({ length: N }, (_, index) => [values[index], values[N + index], values[2 * N + index]]);
}
