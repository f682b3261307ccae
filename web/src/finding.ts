/**
 * Finding the faces of photos: looks of the detectors, landmarks in what they find, one entry for each face.
 *
 * The score of a detection does not tell a face from an eye that fills the picture; the confidence of the
 * landmarks does. So every look is judged by the landmarks found, further looks follow while no face is
 * beyond doubt, and of candidates whose landmarks share a place the most confident one stays.
 */

import { CONSTANTS } from "./constants.js";
import type { DetectorChoice, Range } from "./constants.js";
import type { Detection } from "./detector.js";
import { InputError } from "./errors.js";
import type { Face } from "./face.js";
import { landmarkBox, longerSide, overlap } from "./geometry.js";
import type { Box } from "./geometry.js";
import { cutOut, roundHalfEven } from "./pixels.js";
import type { Pixels } from "./pixels.js";

/** One look of a network at a picture; see `FaceDetector.look`. */
export type Look = (range: Range, pixels: Pixels, margin: number) => Promise<Detection[]>;
/** Finds the landmarks in the boxes of a picture. */
export type Predict = (pixels: Pixels, detections: readonly Detection[]) => Promise<Face[]>;

const { looks, sure, samePlace: SAME_PLACE, inside } = CONSTANTS.finding;
const { share, step, face: TILE_FACE, edge: TILE_EDGE } = CONSTANTS.tiles;

/** Searches pictures for faces. */
export class FaceFinder {
  private readonly looks: (typeof looks)[DetectorChoice];

  /** @param maxFaces most faces of a picture that are wanted. */
  constructor(
    private readonly look: Look,
    choice: DetectorChoice = "auto",
    maxFaces = Infinity,
  ) {
    if (!(choice in looks)) {
      const choices = Object.keys(looks).join(", ");
      throw new InputError(`detector: found ${JSON.stringify(choice)}, expected one of ${choices}`);
    }
    this.looks = looks[choice === "auto" && maxFaces !== 1 ? "full" : choice];
  }

  /**
   * Finds the boxes of the faces: all those of the first look that sees one, by falling score.
   *
   * @param tiles whether small faces are found, too.
   */
  async detect(pixels: Pixels, tiles = false): Promise<Detection[]> {
    const small = tiles ? await this.detectInTiles(pixels) : [];
    for (const [range, margin] of this.looks) {
      const detections = await this.look(range, pixels, margin);
      if (detections.length > 0) return distinctFaces([...detections, ...small]);
    }
    return small;
  }

  /** Finds the boxes of large faces in one look of the short range. */
  async glance(pixels: Pixels): Promise<readonly Detection[]> {
    return this.look("short", pixels, 1);
  }

  /** Finds the faces and their landmarks, by falling score of their detection. */
  async find(pixels: Pixels, predict: Predict): Promise<Face[]> {
    let found: Face[] = [];
    for (const [range, margin] of this.looks) {
      const detections = await this.look(range, pixels, margin);
      found = merge([...found, ...(await predict(pixels, detections))]);
      if (found.some((face) => trust(face) >= sure)) break;
    }
    return found;
  }

  /** Finds small faces and their landmarks; see `detectInTiles`. */
  async findInTiles(pixels: Pixels, predict: Predict): Promise<Face[]> {
    return merge(await predict(pixels, await this.detectInTiles(pixels)));
  }

  /** Finds small faces: searches overlapping tiles, each as if it were a picture. */
  private async detectInTiles(pixels: Pixels): Promise<Detection[]> {
    const found: Detection[] = [];
    for (const tile of tileBoxes(pixels.width, pixels.height)) {
      const [x0, y0, x1, y1] = tile;
      for (const { box, score, keypoints } of await this.look("full", cutOut(pixels, tile), 1)) {
        const isSmall = longerSide(box) < TILE_FACE * Math.max(x1 - x0, y1 - y0);
        if (!isSmall || isCut(box, tile, pixels)) continue;
        found.push({
          box: [box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0],
          score,
          keypoints: keypoints.map(([x, y]) => [x + x0, y + y0]),
        });
      }
    }
    return distinctFaces(found);
  }
}

/** Confidence of a face, or the score of its detection from a model without confidence. */
function trust({ confidence, score }: Face): number {
  return confidence ?? score ?? 0;
}

/** Of faces whose landmarks share a place the most trusted one stays; by falling score. */
export function merge(faces: readonly Face[]): Face[] {
  const boxes = new Map(faces.map((face) => [face, landmarkBox(face.landmarks)]));
  const kept: Face[] = [];
  for (const face of [...faces].sort((a, b) => trust(b) - trust(a))) {
    if (!kept.some((other) => samePlace(boxes.get(face)!, boxes.get(other)!))) kept.push(face);
  }
  return kept.sort((a, b) => (b.score ?? 0) - (a.score ?? 0));
}

/** Whether two boxes of landmarks are of one face. */
export function samePlace(a: Box, b: Box): boolean {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const common = Math.max(width, 0) * Math.max(height, 0);
  const areas = [a, b].map((box) => (box[2] - box[0]) * (box[3] - box[1]));
  return common > SAME_PLACE * (areas[0] + areas[1] - common) || common > inside * Math.min(...areas);
}

/** Overlapping squares that cover a picture. */
export function tileBoxes(width: number, height: number): Box[] {
  const side = Math.max(roundHalfEven(share * Math.max(width, height)), 1);
  const starts = (length: number): number[] => {
    const free = Math.max(length - side, 0);
    const count = Math.ceil(free / (step * side));
    return count === 0
      ? [0]
      : Array.from({ length: count + 1 }, (_, number) => roundHalfEven((free * number) / count));
  };
  return starts(height).flatMap((y) =>
    starts(width).map((x): Box => [x, y, Math.min(x + side, width), Math.min(y + side, height)]),
  );
}

/** Whether a face, in pixels of its tile, may continue beyond the edge of the tile in the picture. */
function isCut(box: Box, [x0, y0, x1, y1]: Box, { width, height }: Pixels): boolean {
  const edge = TILE_EDGE * Math.max(x1 - x0, y1 - y0);
  return (
    (box[0] < edge && x0 > 0) ||
    (box[1] < edge && y0 > 0) ||
    (box[2] > x1 - x0 - 1 - edge && x1 < width) ||
    (box[3] > y1 - y0 - 1 - edge && y1 < height)
  );
}

/** The detections by falling score, without those that overlap with a better one. */
export function distinctFaces(detections: readonly Detection[]): Detection[] {
  const kept: Detection[] = [];
  for (const face of [...detections].sort((a, b) => b.score - a.score)) {
    if (!kept.some((other) => overlap(face.box, other.box) > CONSTANTS.detection.sameFace)) kept.push(face);
  }
  return kept;
}
