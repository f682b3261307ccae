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
  let halved = 1;
  // Halved, and then sampled from less than twice the size, so that fine texture does not alias.
  for (; image.width > 2 * width && image.height > 2 * height; halved *= 2) image = halve(image);
  const resized = resize(image, linearWeights(image.width, width), linearWeights(image.height, height));
  const left = Math.floor((size - width) / 2);
  const top = Math.floor((size - height) / 2);
  const data = new Float32Array(size * size * 3);
  for (let row = 0; row < height; row++) {
    const from = row * width * 3;
    data.set(resized.subarray(from, from + width * 3), 3 * ((top + row) * size + left));
  }
  const scale: [number, number] = [width / image.width / halved, height / image.height / halved];
  return { data, scale, offset: [left, top] };
}

/** A picture at half its size: means of 2 x 2 pixels. Of an odd number the last row or column is left out. */
function halve(whole: Pixels): Pixels {
  const source = whole.data; // not by rest properties: width and height of an ImageData are no properties of its own
  const [width, height] = [Math.floor(whole.width / 2), Math.floor(whole.height / 2)];
  const data = new Uint8ClampedArray(4 * width * height);
  const line = 4 * whole.width;
  for (let row = 0, at = 0; row < height; row++) {
    let from = 2 * row * line;
    for (let column = 0; column < width; column++, from += 4) {
      for (let channel = 0; channel < 4; channel++, at++, from++) {
        data[at] = (source[from] + source[from + 4] + source[from + line] + source[from + line + 4] + 2) >> 2;
      }
    }
  }
  return { data, width, height };
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
