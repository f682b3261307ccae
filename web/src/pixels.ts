/** Pixels of a picture, turned, cut out and resized. */

import type { Box } from "./geometry.js";

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

/** Source pixels of each target pixel along one axis: the first of them, and their weights in a row. */
interface Weights {
  first: Int32Array;
  /** Where the weights of each target pixel begin; one more at the end. */
  start: Int32Array;
  weights: Float64Array;
}

function packWeights(targets: readonly { first: number; weights: readonly number[] }[]): Weights {
  const start = new Int32Array(targets.length + 1);
  targets.forEach(({ weights }, index) => (start[index + 1] = start[index] + weights.length));
  return {
    first: Int32Array.from(targets, ({ first }) => first),
    start,
    weights: Float64Array.from(targets.flatMap(({ weights }) => weights)),
  };
}

/** Each target pixel is the mean of the source pixels that it covers. */
function areaWeights(source: number, target: number): Weights {
  const scale = source / target;
  return packWeights(
    Array.from({ length: target }, (_, index) => {
      const low = index * scale;
      const high = Math.min(low + scale, source);
      const first = Math.floor(low + 1e-9);
      const last = Math.min(Math.ceil(high - 1e-9), source);
      const weights = [];
      for (let pixel = first; pixel < last; pixel++) {
        weights.push((Math.min(high, pixel + 1) - Math.max(low, pixel)) / (high - low));
      }
      return { first, weights };
    }),
  );
}

/** Each target pixel is interpolated between the two nearest source pixels. */
function linearWeights(source: number, target: number): Weights {
  const scale = source / target;
  return packWeights(
    Array.from({ length: target }, (_, index) => {
      const at = Math.min(Math.max((index + 0.5) * scale - 0.5, 0), source - 1);
      const first = Math.min(Math.floor(at), Math.max(source - 2, 0));
      return { first, weights: source > 1 ? [1 - (at - first), at - first] : [1] };
    }),
  );
}

/** Resizes a picture: RGB, whole numbers from 0 to 255. */
function resize({ data, width }: Pixels, columns: Weights, rows: Weights): Float32Array {
  const narrow = columns.first.length;
  const result = new Float32Array(3 * narrow * rows.first.length);
  const line = new Float64Array(4 * width);
  for (let row = 0, at = 0; row < rows.first.length; row++) {
    line.fill(0);
    let from = rows.first[row] * line.length;
    for (let index = rows.start[row]; index < rows.start[row + 1]; index++, from += line.length) {
      const weight = rows.weights[index];
      for (let value = 0; value < line.length; value++) line[value] += weight * data[from + value];
    }
    for (let column = 0; column < narrow; column++, at += 3) {
      let value = 4 * columns.first[column];
      let [red, green, blue] = [0, 0, 0];
      for (let index = columns.start[column]; index < columns.start[column + 1]; index++, value += 4) {
        const weight = columns.weights[index];
        red += weight * line[value];
        green += weight * line[value + 1];
        blue += weight * line[value + 2];
      }
      result[at] = Math.round(red);
      result[at + 1] = Math.round(green);
      result[at + 2] = Math.round(blue);
    }
  }
  return result;
}
