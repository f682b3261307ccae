/**
 * Constants of the pipeline, exported from the Python package into `constants.json`, so that both
 * implementations use the same numbers.
 */

import values from "./constants.json" with { type: "json" };
import type { Point } from "./geometry.js";

/** One of MediaPipe's BlazeFace networks. */
export interface DetectorConstants {
  /** Name of its file in `assets/detectors`. */
  file: string;
  /** Side of its square input in pixels. */
  size: number;
  /** Grids of cells: [cells on a side, answers per cell]. */
  anchors: readonly (readonly [number, number])[];
  /** Linear map from its keypoints to the landmark box; see `landmarkBoxOfDetection`. */
  centreX: readonly number[];
  centreYAndSize: readonly (readonly number[])[];
}

/** A network: "full" finds faces down to 1/20 of the longer side of a picture, "short" down to 1/5. */
export type Range = "full" | "short";

/**
 * Which networks search a picture. "full": the one that sees small faces. "short": one of a fifth of its
 * time, for faces of at least 1/5 of the picture. "auto": "short" first if only one face is wanted, and
 * "full" if that finds none beyond doubt; else "full".
 */
export type DetectorChoice = "auto" | Range;

/** Settings of the One-Euro filter; see `OneEuroFilter`. */
export interface SmoothingConfig {
  /** Cutoff of a landmark at rest in Hz; a smaller value is steadier and lags more. */
  minCutoff: number;
  /** Hz of cutoff for each face size per second of speed; a larger value lags less in motion. */
  beta: number;
  /** Cutoff of the filter of the speed in Hz. */
  speedCutoff: number;
}

/** Rules by which faces are followed through a video; see `Tracker`. */
export interface TrackingConfig {
  /**
   * Frames from one detection to the next while every face is certain, and from one search of the frame upside
   * down to the next while there is no face.
   */
  detectEvery: number;
  /** The same while a face is doubtful, was missed by the last detection, or was lost recently. */
  recheckEvery: number;
  /** Of the detections while every face is sure and large, how many in a row only look for large faces. */
  glances: number;
  /** A face is lost when this many detections in a row miss it. */
  maxMisses: number;
  /** The same for a doubtful face. */
  doubtfulMisses: number;
  /** Frames for which a lost face keeps its id. */
  remember: number;
  /** Least overlap (IoU) of the searched box and the box of the landmarks found in it. */
  minAgreement: number;
  /** Largest distance from the mean face. */
  maxResidual: number;
  /** Below this confidence a face becomes doubtful ... */
  minConfidence: number;
  /** ... and stays doubtful until its confidence is above this one. Faces upside down are followed from it. */
  sureConfidence: number;
  /** A face is lost when less than this share of its box is inside the picture. */
  minInside: number;
  /** A face is lost when the longer side of its box is shorter than this many pixels. */
  minSide: number;
  /** Motion and growth, as a share of the face size, below which the searched box stays fixed. */
  slack: number;
  /** Whether landmarks are smoothed over time. */
  smooth: boolean;
  smoothing: SmoothingConfig;
}

type Rgb = readonly [number, number, number];

interface Constants {
  version: string;
  defaultModel: string;
  meanShape: readonly Point[];
  mirror: readonly number[];
  cropScale: number;
  heatmap: { sigma: number; radius: number };
  sampling: { maxShrink: number; maxSupersampling: number };
  maxPasses: number;
  unsettled: number;
  minConfidence: number;
  detectors: Record<Range, DetectorConstants>;
  detection: { minScore: number; sameFace: number; sizeRange: readonly [number, number] };
  finding: {
    looks: Record<DetectorChoice, readonly (readonly [Range, number])[]>;
    sure: number;
    samePlace: number;
    inside: number;
  };
  tiles: { above: number; share: number; step: number; face: number; edge: number };
  tracking: TrackingConfig & {
    matchOverlap: number;
    driftOverlap: number;
    glanceSide: number;
    twinOverlap: number;
    returnReach: number;
    fast: number;
  };
  fit: {
    noise: number;
    depthNoise: number;
    hiddenNoise: number;
    rotationNoise: number;
    iterations: number;
    minConfidence: number;
    notFinite: string;
    notConfident: string;
    toCamera: readonly number[];
    /** Names of the face units, and those that the landmarks of a network show. */
    units: readonly string[];
    offeredUnits: readonly string[];
  };
  meshPicture: {
    opacity: number;
    light: readonly [number, number, number];
    tone: Rgb;
    darkest: number;
    farthest: number;
  };
  contours: readonly { points: readonly number[]; closed: boolean }[];
  colours: { points: Rgb; contours: Rgb; axes: readonly [Rgb, Rgb, Rgb]; ids: Rgb };
}

export const CONSTANTS = values as unknown as Constants;

/** Number of landmarks of a face. */
export const NUM_LANDMARKS = CONSTANTS.meanShape.length;

/** Version of this package, which is that of the Python package. */
export const VERSION = CONSTANTS.version;

/** Confidence from which a face is convincing. */
export const MIN_CONFIDENCE = CONSTANTS.minConfidence;

/** Lines through the 68 landmarks: jaw, brows, nose, eyes and lips. */
export const CONTOURS = CONSTANTS.contours;

/** Landmark i of a mirrored face is landmark `MIRROR[i]` of the face. */
export const MIRROR = CONSTANTS.mirror;
