/** Crops of a picture, as the landmark model sees them. */

import { CONSTANTS } from "./constants.js";
import { clamp, cropSquare, cropToImage } from "./geometry.js";
import type { Affine, Box } from "./geometry.js";
import { roundHalfEven } from "./pixels.js";
import type { Pixels } from "./pixels.js";

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
  const samples = samplesOf(cropToImage(square, size * factor, roll), size * factor);
  const sums = new Uint32Array(3 * size * size);
  if (roll === 0) addUpright(image, samples, factor, sums);
  else addTurned(image, samples, factor, sums);
  const data = new Uint8Array(sums.length);
  const count = factor * factor;
  for (let index = 0; index < sums.length; index++) data[index] = Math.round(sums[index] / count);
  return { data, toImage: cropToImage(square, size, roll) };
}

// Positions and samples are rounded as by OpenCV's `warpAffine`, which the Python package uses.
const FIXED_BITS = 10;
const GRID_BITS = 5;
const GRID = 1 << GRID_BITS;
const HALF_WEIGHT = (GRID * GRID) / 2;
const TO_GRID_BITS = FIXED_BITS - GRID_BITS;
const HALF_STEP = 1 << (TO_GRID_BITS - 1);
/** Keeps the sum of two positions within 32 bits; no picture reaches that far. */
const FARTHEST = 1 << 29;

/** A fixed-point position in units of 1 / GRID pixel. */
function toGrid(position: number): number {
  return (position + HALF_STEP) >> TO_GRID_BITS;
}

/**
 * Positions of a square of samples, in units of 1 / 2^FIXED_BITS pixel: that of a row and a column is
 * (rowX + columnX, rowY + columnY).
 */
interface Samples {
  /** Samples along a side. */
  side: number;
  rowX: Int32Array;
  rowY: Int32Array;
  columnX: Int32Array;
  columnY: Int32Array;
}

function samplesOf([[a, b, c], [d, e, f]]: Affine, side: number): Samples {
  const positions = (step: number, start: number) => {
    const line = new Int32Array(side);
    for (let index = 0; index < side; index++) {
      const position = roundHalfEven((step * index + start) * (1 << FIXED_BITS));
      line[index] = clamp(position, -FARTHEST, FARTHEST);
    }
    return line;
  };
  return {
    side,
    rowX: positions(b, c),
    rowY: positions(e, f),
    columnX: positions(a, 0),
    columnY: positions(d, 0),
  };
}

/**
 * Adds up the samples of a crop whose sides are parallel to those of the picture.
 *
 * Lines of the picture are interpolated once along x and then, two at a time, along y. In whole numbers the
 * result is exactly that of interpolation between four pixels.
 *
 * @param factor samples a row and a column for each of the RGB values of `sums`.
 */
function addUpright(
  image: Pixels,
  { side, rowX, rowY, columnX }: Samples,
  factor: number,
  sums: Uint32Array,
): void {
  const x = columnX.map((column) => toGrid(rowX[0] + column));
  let [upper, lower] = [new Int32Array(3 * side), new Int32Array(3 * side)];
  /** Number of the line in `upper`; `lower` holds the next one. */
  let loaded = NaN;
  const sumsOfRow = new Int32Array(3 * side);
  for (let row = 0; row < side; row++) {
    const y = toGrid(rowY[row]);
    const top = y >> GRID_BITS;
    if (top === loaded + 1) {
      [upper, lower] = [lower, upper];
      interpolateLine(image, top + 1, x, lower);
    } else if (top !== loaded) {
      interpolateLine(image, top, x, upper);
      interpolateLine(image, top + 1, x, lower);
    }
    loaded = top;
    addBetween(upper, lower, y & (GRID - 1), sumsOfRow);
    if ((row + 1) % factor === 0) {
      addColumns(sumsOfRow, factor, sums, (sumsOfRow.length * ((row + 1) / factor - 1)) / factor);
      sumsOfRow.fill(0);
    }
  }
}

/** Adds the values between two lines, `down` / GRID below the upper one, to `target`. */
function addBetween(upper: Int32Array, lower: Int32Array, down: number, target: Int32Array): void {
  const up = GRID - down;
  for (let index = 0; index < target.length; index++) {
    target[index] += (up * upper[index] + down * lower[index] + HALF_WEIGHT) >> (2 * GRID_BITS);
  }
}

/** Adds each `factor` RGB values of a line to one of `sums`, from `at` on. */
function addColumns(line: Int32Array, factor: number, sums: Uint32Array, at: number): void {
  for (let index = 0; index < line.length; at += 3) {
    for (let sample = 0; sample < factor; sample++, index += 3) {
      sums[at] += line[index];
      sums[at + 1] += line[index + 1];
      sums[at + 2] += line[index + 2];
    }
  }
}

/** RGB values of a line of a picture at each of `x`, in units of 1 / GRID pixel, times GRID. */
function interpolateLine({ data, width, height }: Pixels, y: number, x: Int32Array, line: Int32Array): void {
  if (y < 0 || y >= height) {
    line.fill(0);
    return;
  }
  for (let column = 0, at = 0; column < x.length; column++, at += 3) {
    const left = x[column] >> GRID_BITS;
    const second = x[column] & (GRID - 1);
    const first = GRID - second;
    const from = 4 * (y * width + left);
    if (left >= 0 && left < width - 1) {
      line[at] = first * data[from] + second * data[from + 4];
      line[at + 1] = first * data[from + 1] + second * data[from + 5];
      line[at + 2] = first * data[from + 2] + second * data[from + 6];
      continue;
    }
    for (let channel = 0; channel < 3; channel++) {
      // Pixels outside of the picture are black.
      line[at + channel] =
        (left >= 0 && left < width ? first * data[from + channel] : 0) +
        (left + 1 >= 0 && left + 1 < width ? second * data[from + channel + 4] : 0);
    }
  }
}

/** Adds up the samples of any crop; see `addUpright`. */
function addTurned(image: Pixels, samples: Samples, factor: number, sums: Uint32Array): void {
  const { side } = samples;
  for (let row = 0; row < side; row++) {
    const offset = (3 * side * Math.floor(row / factor)) / factor;
    let [first, end] = [0, side];
    while (first < end && !isInside(image, samples, row, first)) {
      addAtBorder(image, samples, row, first, sums, offset + 3 * Math.floor(first / factor));
      first++;
    }
    while (first < end && !isInside(image, samples, row, end - 1)) {
      end--;
      addAtBorder(image, samples, row, end, sums, offset + 3 * Math.floor(end / factor));
    }
    addInside(image, samples, row, first, end, factor, sums, offset);
  }
}

/** Whether all four pixels around a sample are in the picture. */
function isInside({ width, height }: Pixels, samples: Samples, row: number, column: number): boolean {
  const x = toGrid(samples.rowX[row] + samples.columnX[column]);
  const y = toGrid(samples.rowY[row] + samples.columnY[column]);
  return x >= 0 && y >= 0 && x < (width - 1) * GRID && y < (height - 1) * GRID;
}

/**
 * Adds the RGB values of the samples of a row from `first` to before `end`, which are inside the picture.
 *
 * @param offset of the first pixel of the row in `sums`.
 */
function addInside(
  { data, width }: Pixels,
  { rowX, rowY, columnX, columnY }: Samples,
  row: number,
  first: number,
  end: number,
  factor: number,
  sums: Uint32Array,
  offset: number,
): void {
  const stride = 4 * width;
  let at = offset + 3 * Math.floor(first / factor);
  let missing = factor - (first % factor);
  for (let column = first; column < end; column++) {
    const x = toGrid(rowX[row] + columnX[column]);
    const y = toGrid(rowY[row] + columnY[column]);
    const right = x & (GRID - 1);
    const down = y & (GRID - 1);
    const i = (y >> GRID_BITS) * stride + 4 * (x >> GRID_BITS);
    const j = i + stride;
    const p = (GRID - right) * (GRID - down);
    const q = right * (GRID - down);
    const r = (GRID - right) * down;
    const s = right * down;
    const red = p * data[i] + q * data[i + 4] + r * data[j] + s * data[j + 4];
    const green = p * data[i + 1] + q * data[i + 5] + r * data[j + 1] + s * data[j + 5];
    const blue = p * data[i + 2] + q * data[i + 6] + r * data[j + 2] + s * data[j + 6];
    sums[at] += (red + HALF_WEIGHT) >> (2 * GRID_BITS);
    sums[at + 1] += (green + HALF_WEIGHT) >> (2 * GRID_BITS);
    sums[at + 2] += (blue + HALF_WEIGHT) >> (2 * GRID_BITS);
    if (--missing === 0) {
      at += 3;
      missing = factor;
    }
  }
}

/** Adds the RGB value of a sample at or beyond the border of the picture, which is black outside. */
function addAtBorder(
  { data, width, height }: Pixels,
  samples: Samples,
  row: number,
  column: number,
  sums: Uint32Array,
  at: number,
): void {
  const x = toGrid(samples.rowX[row] + samples.columnX[column]);
  const y = toGrid(samples.rowY[row] + samples.columnY[column]);
  if (x < -GRID || y < -GRID || x >= width * GRID || y >= height * GRID) return;
  const left = x >> GRID_BITS;
  const top = y >> GRID_BITS;
  const right = x & (GRID - 1);
  const down = y & (GRID - 1);
  const first = 4 * (top * width + left);
  const below = first + 4 * width;
  const inside = [
    left >= 0 && top >= 0,
    left < width - 1 && top >= 0,
    left >= 0 && top < height - 1,
    left < width - 1 && top < height - 1,
  ];
  const weights = [
    (GRID - right) * (GRID - down),
    right * (GRID - down),
    (GRID - right) * down,
    right * down,
  ];
  const offsets = [first, first + 4, below, below + 4];
  for (let channel = 0; channel < 3; channel++) {
    let sum = HALF_WEIGHT;
    for (let corner = 0; corner < 4; corner++) {
      if (inside[corner]) sum += weights[corner] * data[offsets[corner] + channel];
    }
    sums[at + channel] += sum >> (2 * GRID_BITS);
  }
}
