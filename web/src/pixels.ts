/** Pixels of a picture, and how they are sampled: crops and resizing. */

import { CONSTANTS } from "./constants.js";
import { cropSquare, cropToImage } from "./geometry.js";
import type { Affine, Box } from "./geometry.js";

/** RGBA pixels, row by row; an `ImageData` is one. */
export interface Pixels {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/** A picture upside down. */
export function turnRound({ data, width, height }: Pixels): Pixels {
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const turned = from.slice().reverse();
  return { data: new Uint8ClampedArray(turned.buffer), width, height };
}

/** A part of a picture, as a copy. */
export function cutOut(image: Pixels, [x0, y0, x1, y1]: Box): Pixels {
  const [width, height] = [x1 - x0, y1 - y0];
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((y0 + row) * image.width + x0);
    data.set(image.data.subarray(from, from + 4 * width), 4 * row * width);
  }
  return { data, width, height };
}

/** A crop and the map from its pixels to those of the picture. */
export interface Crop {
  /** size x size x 3 RGB. */
  data: Uint8Array<ArrayBuffer>;
  toImage: Affine;
}

/**
 * Cuts the crop of a landmark box out of a picture; outside of the picture it is black.
 *
 * If the picture has more than `maxShrink` pixels per crop pixel, a whole multiple of the crop is
 * sampled and averaged down, so that fine texture does not alias.
 *
 * @param roll radians by which the box and its crop are turned clockwise about their centre.
 */
export function cutCrop(image: Pixels, box: Box, size: number, roll = 0): Crop {
  const { maxShrink, maxSupersampling } = CONSTANTS.sampling;
  const square = cropSquare(box);
  const shrink = square.side / size;
  const factor = shrink <= maxShrink ? 1 : Math.min(Math.ceil(shrink), maxSupersampling);
  const sums = new Uint32Array(size * size * 3);
  const side = size * factor;
  const [[a, b, c], [d, e, f]] = cropToImage(square, side, roll);
  const alongX = Float64Array.from({ length: side }, (_, column) => fixed(a * column));
  const alongY = Float64Array.from({ length: side }, (_, column) => fixed(d * column));
  for (let row = 0; row < side; row++) {
    const target = Math.floor(row / factor) * size;
    const startX = fixed(b * row + c);
    const startY = fixed(e * row + f);
    for (let column = 0; column < side; column++) {
      const x = toGrid(startX + alongX[column]);
      const y = toGrid(startY + alongY[column]);
      addBilinear(image, x, y, sums, 3 * (target + Math.floor(column / factor)));
    }
  }
  const data = new Uint8Array(sums.length);
  const samples = factor * factor;
  for (let index = 0; index < sums.length; index++) data[index] = Math.round(sums[index] / samples);
  return { data, toImage: cropToImage(square, size, roll) };
}

// Positions and samples are rounded as by OpenCV's `warpAffine`, which the Python package uses.
const FIXED_ONE = 1024;
const GRID_BITS = 5;
const GRID = 1 << GRID_BITS;
const HALF_WEIGHT = (GRID * GRID) / 2;

/** A position in units of 1 / FIXED_ONE pixel. */
function fixed(position: number): number {
  return roundHalfEven(position * FIXED_ONE);
}

/** A fixed-point position in units of 1 / GRID pixel. */
function toGrid(position: number): number {
  return Math.floor((position * GRID) / FIXED_ONE + 0.5);
}

/** Adds the RGB value of a picture at (x, y), in units of 1 / GRID pixel, to three numbers of `sums`. */
function addBilinear(image: Pixels, x: number, y: number, sums: Uint32Array, at: number): void {
  const { data, width, height } = image;
  if (x < -GRID || y < -GRID || x >= width * GRID || y >= height * GRID) return;
  const left = x >> GRID_BITS;
  const top = y >> GRID_BITS;
  const right = x - (left << GRID_BITS);
  const down = y - (top << GRID_BITS);
  const first = 4 * (top * width + left);
  const below = first + 4 * width;
  const p = (GRID - right) * (GRID - down);
  const q = right * (GRID - down);
  const r = (GRID - right) * down;
  const s = right * down;
  if (left >= 0 && top >= 0 && left < width - 1 && top < height - 1) {
    const red = p * data[first] + q * data[first + 4] + r * data[below] + s * data[below + 4];
    const green = p * data[first + 1] + q * data[first + 5] + r * data[below + 1] + s * data[below + 5];
    const blue = p * data[first + 2] + q * data[first + 6] + r * data[below + 2] + s * data[below + 6];
    sums[at] += (red + HALF_WEIGHT) >> (2 * GRID_BITS);
    sums[at + 1] += (green + HALF_WEIGHT) >> (2 * GRID_BITS);
    sums[at + 2] += (blue + HALF_WEIGHT) >> (2 * GRID_BITS);
    return;
  }
  // At the border: pixels outside of the picture are black.
  const inside = [
    left >= 0 && top >= 0,
    left < width - 1 && top >= 0,
    left >= 0 && top < height - 1,
    left < width - 1 && top < height - 1,
  ];
  const weights = [p, q, r, s];
  const offsets = [first, first + 4, below, below + 4];
  for (let channel = 0; channel < 3; channel++) {
    let sum = HALF_WEIGHT;
    for (let corner = 0; corner < 4; corner++) {
      if (inside[corner]) sum += weights[corner] * data[offsets[corner] + channel];
    }
    sums[at + channel] += sum >> (2 * GRID_BITS);
  }
}

/** A picture in the middle of a black square, and how it got there. */
export interface Letterbox {
  /** size x size x 3 RGB, 0 to 255. */
  data: Float32Array<ArrayBuffer>;
  /** Edge coordinates of the square are those of the picture x scale + offset, for x and y. */
  scale: [number, number];
  offset: [number, number];
}

/**
 * Fits a picture into the middle of a black square.
 *
 * @param size side of the square in pixels.
 * @param margin the longer side of the picture takes size / margin pixels.
 */
export function letterbox(image: Pixels, size: number, margin = 1): Letterbox {
  const factor = size / margin / Math.max(image.width, image.height);
  const width = Math.max(roundHalfEven(image.width * factor), 1);
  const height = Math.max(roundHalfEven(image.height * factor), 1);
  const weigh = factor < 1 ? areaWeights : linearWeights;
  const resized = resize(image, weigh(image.width, width), weigh(image.height, height));
  const left = Math.floor((size - width) / 2);
  const top = Math.floor((size - height) / 2);
  const data = new Float32Array(size * size * 3);
  for (let row = 0; row < height; row++) {
    const from = row * width * 3;
    data.set(resized.subarray(from, from + width * 3), 3 * ((top + row) * size + left));
  }
  return { data, scale: [width / image.width, height / image.height], offset: [left, top] };
}

/** Half to even, as NumPy's `rint`. */
export function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Source pixels of each target pixel along one axis: the first of them and their weights. */
type Weights = { first: number; weights: number[] }[];

/** Each target pixel is the mean of the source pixels that it covers. */
function areaWeights(source: number, target: number): Weights {
  const scale = source / target;
  return Array.from({ length: target }, (_, index) => {
    const low = index * scale;
    const high = Math.min(low + scale, source);
    const first = Math.floor(low + 1e-9);
    const last = Math.min(Math.ceil(high - 1e-9), source);
    const weights = [];
    for (let pixel = first; pixel < last; pixel++) {
      weights.push((Math.min(high, pixel + 1) - Math.max(low, pixel)) / (high - low));
    }
    return { first, weights };
  });
}

/** Each target pixel is interpolated between the two nearest source pixels. */
function linearWeights(source: number, target: number): Weights {
  const scale = source / target;
  return Array.from({ length: target }, (_, index) => {
    const at = Math.min(Math.max((index + 0.5) * scale - 0.5, 0), source - 1);
    const first = Math.min(Math.floor(at), Math.max(source - 2, 0));
    return { first, weights: source > 1 ? [1 - (at - first), at - first] : [1] };
  });
}

/** Resizes a picture: RGB, whole numbers from 0 to 255. */
function resize(image: Pixels, columns: Weights, rows: Weights): Float32Array {
  const { data, width, height } = image;
  const narrow = new Float32Array(height * columns.length * 3);
  let at = 0;
  for (let row = 0; row < height; row++) {
    for (const { first, weights } of columns) {
      let from = 4 * (row * width + first);
      let [red, green, blue] = [0, 0, 0];
      for (const weight of weights) {
        red += weight * data[from];
        green += weight * data[from + 1];
        blue += weight * data[from + 2];
        from += 4;
      }
      narrow[at] = red;
      narrow[at + 1] = green;
      narrow[at + 2] = blue;
      at += 3;
    }
  }
  const stride = columns.length * 3;
  const result = new Float32Array(rows.length * stride);
  rows.forEach(({ first, weights }, row) => {
    const line = result.subarray(row * stride, (row + 1) * stride);
    weights.forEach((weight, index) => {
      const from = (first + index) * stride;
      for (let column = 0; column < stride; column++) line[column] += weight * narrow[from + column];
    });
    for (let column = 0; column < stride; column++) line[column] = Math.round(line[column]);
  });
  return result;
}
