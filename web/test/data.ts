/** Test data, written by `python tools/web_test_data.py`. */

import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";

export const DATA = resolve(import.meta.dirname, "data");

export function dataFile(name: string): string {
  const file = resolve(DATA, name);
  if (!existsSync(file)) {
    throw new Error(
      `${file} is missing. Write it in the repository's root with: python tools/web_test_data.py`,
    );
  }
  return file;
}

/** Answers of the Python package. */
export const expected: any = JSON.parse(readFileSync(dataFile("expected.json"), "utf8"));

/** Largest absolute difference of two nested arrays of numbers. */
export function largestDifference(a: unknown, b: unknown): number {
  const first = flatten(a);
  const second = flatten(b);
  if (first.length !== second.length || first.length === 0) {
    throw new Error(`found ${first.length} and ${second.length} numbers, expected equally many and some`);
  }
  const difference = first.reduce((most, value, index) => Math.max(most, Math.abs(value - second[index])), 0);
  if (Number.isNaN(difference)) throw new Error("found NaN, expected numbers");
  return difference;
}

function flatten(values: unknown): number[] {
  if (typeof values === "number") return [values];
  return Array.from(values as Iterable<unknown>).flatMap(flatten);
}
