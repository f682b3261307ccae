/** A picture of the fitted face, shaded by light and depth, as by `tf_dhm/runtime/mesh_pictures.py`. */

import { CONSTANTS } from "./constants.js";
import type { FaceFit } from "./fit.js";
import { clamp } from "./geometry.js";

/** Pixels of a part of a picture: RGBA, transparent where there is no face. */
export interface Surface {
  x: number;
  y: number;
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** How far outside of its edges a triangle still covers a pixel, so that no gaps remain; as in Python. */
const EDGE = -1e-4;

/** Draws the front of a face, opaque, in a picture of `width` x `height` pixels; null if it is outside. */
export function drawSurface(fit: FaceFit, width: number, height: number): Surface | null {
  const { vertices, faceTriangles } = fit;
  const { light, tone, darkest, farthest } = CONSTANTS.meshPicture;
  const frame = frameOf(fit, width, height);
  if (!frame) return null;
  const normals = vertexNormals(fit);
  const brightness = scratch("brightness", vertices.length / 3);
  for (let index = 0; index < brightness.length; index++) {
    const at = 3 * index;
    brightness[index] = normals[at] * light[0] + normals[at + 1] * light[1] + normals[at + 2] * light[2];
  }
  const depth = scratch("depth", frame.width * frame.height).fill(-Infinity);
  const lit = scratch("lit", depth.length);
  for (let at = 0; at < faceTriangles.length; at += 3) {
    const [i, j, k] = [faceTriangles[at], faceTriangles[at + 1], faceTriangles[at + 2]];
    fillTriangle(vertices, i, j, k, brightness, frame, depth, lit);
  }
  let [low, high] = [Infinity, -Infinity];
  for (const z of depth) {
    if (z === -Infinity) continue;
    low = Math.min(low, z);
    high = Math.max(high, z);
  }
  const data = new Uint8ClampedArray(4 * depth.length);
  for (let pixel = 0; pixel < depth.length; pixel++) {
    if (depth[pixel] === -Infinity) continue;
    const nearness = (depth[pixel] - low) / Math.max(high - low, 1e-6);
    const shade =
      (darkest + (1 - darkest) * clamp(lit[pixel], 0, 1)) * (farthest + (1 - farthest) * nearness);
    for (let channel = 0; channel < 3; channel++) data[4 * pixel + channel] = shade * tone[channel];
    data[4 * pixel + 3] = 255;
  }
  return { ...frame, data };
}

const memory = new Map<string, Float32Array>();

/**
 * An array with any content that is valid until the next call with this name: new ones for every frame of a
 * video would keep the garbage collector busy.
 */
function scratch(name: string, length: number): Float32Array {
  let array = memory.get(name);
  if (!array || array.length < length) {
    array = new Float32Array(length);
    memory.set(name, array);
  }
  return array.subarray(0, length);
}

type Frame = Omit<Surface, "data">;

/** The part of a picture that the face covers. */
function frameOf({ vertices, faceTriangles }: FaceFit, width: number, height: number): Frame | null {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const vertex of faceTriangles) {
    const [x, y] = [vertices[3 * vertex], vertices[3 * vertex + 1]];
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  const [x, y] = [Math.max(Math.ceil(box[0]), 0), Math.max(Math.ceil(box[1]), 0)];
  const frame = {
    x,
    y,
    width: Math.min(Math.floor(box[2]), width - 1) - x + 1,
    height: Math.min(Math.floor(box[3]), height - 1) - y + 1,
  };
  return frame.width > 0 && frame.height > 0 ? frame : null;
}

/** Draws a triangle that faces the viewer where it is in front. */
function fillTriangle(
  vertices: Float32Array,
  i: number,
  j: number,
  k: number,
  brightness: Float32Array,
  frame: Frame,
  depth: Float32Array,
  lit: Float32Array,
): void {
  const [ax, ay, az] = [vertices[3 * i], vertices[3 * i + 1], vertices[3 * i + 2]];
  const [bx, by, bz] = [vertices[3 * j], vertices[3 * j + 1], vertices[3 * j + 2]];
  const [cx, cy, cz] = [vertices[3 * k], vertices[3 * k + 1], vertices[3 * k + 2]];
  const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
  // y points down, so that triangles seen from outside run clockwise.
  if (!(area < 0)) return;
  const left = Math.max(Math.ceil(Math.min(ax, bx, cx)), frame.x);
  const right = Math.min(Math.floor(Math.max(ax, bx, cx)), frame.x + frame.width - 1);
  const top = Math.max(Math.ceil(Math.min(ay, by, cy)), frame.y);
  const bottom = Math.min(Math.floor(Math.max(ay, by, cy)), frame.y + frame.height - 1);
  // Barycentric coordinates are linear in x and y.
  const [secondX, thirdX] = [(cy - ay) / area, (ay - by) / area];
  for (let y = top; y <= bottom; y++) {
    let second = ((left - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area;
    let third = ((y - ay) * (bx - ax) - (left - ax) * (by - ay)) / area;
    for (let x = left; x <= right; x++, second += secondX, third += thirdX) {
      const first = 1 - second - third;
      if (first < EDGE || second < EDGE || third < EDGE) continue;
      const z = first * az + second * bz + third * cz;
      const pixel = (y - frame.y) * frame.width + x - frame.x;
      if (z <= depth[pixel]) continue;
      depth[pixel] = z;
      lit[pixel] = first * brightness[i] + second * brightness[j] + third * brightness[k];
    }
  }
}

/** Unit normals of the vertices, outwards, y up; zero without a triangle. */
function vertexNormals({ vertices, triangles }: FaceFit): Float32Array {
  const normals = scratch("normals", vertices.length).fill(0);
  for (let at = 0; at < triangles.length; at += 3) {
    const [a, b, c] = [3 * triangles[at], 3 * triangles[at + 1], 3 * triangles[at + 2]];
    const [ux, uy] = [vertices[b] - vertices[a], vertices[a + 1] - vertices[b + 1]];
    const [vx, vy] = [vertices[c] - vertices[a], vertices[a + 1] - vertices[c + 1]];
    const [uz, vz] = [vertices[b + 2] - vertices[a + 2], vertices[c + 2] - vertices[a + 2]];
    const [x, y, z] = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const corner of [a, b, c]) {
      normals[corner] += x;
      normals[corner + 1] += y;
      normals[corner + 2] += z;
    }
  }
  for (let at = 0; at < normals.length; at += 3) {
    const [x, y, z] = [normals[at], normals[at + 1], normals[at + 2]];
    const length = Math.max(Math.sqrt(x * x + y * y + z * z), 1e-12);
    for (let axis = 0; axis < 3; axis++) normals[at + axis] /= length;
  }
  return normals;
}
