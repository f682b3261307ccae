/**
 * Faces followed through the frames of a video.
 *
 * In each frame the model searches where the landmarks were in the last one. The detector runs when
 * that becomes doubtful, when a face was lost, and regularly to find new faces and to confirm the
 * followed ones.
 */

import { linearSumAssignment } from "linear-sum-assignment";
import { Matrix } from "ml-matrix";

import { poseInDegrees, scaleFace, turnBack } from "./aligner.js";
import type { Aligner } from "./aligner.js";
import { CONSTANTS } from "./constants.js";
import type { DetectorChoice, TrackingConfig } from "./constants.js";
import { InputError } from "./errors.js";
import type { Face } from "./face.js";
import type { FaceFit } from "./fit.js";
import { boxSize, clamp, landmarkBox, longerSide, overlap, shapeResidual } from "./geometry.js";
import type { Box, Point2 } from "./geometry.js";
import type { ImageInput } from "./image.js";
import { turnRound } from "./pixels.js";
import type { Pixels } from "./pixels.js";
import { OneEuroFilter } from "./smoothing.js";

type Detections = readonly { box: Box; score: number }[];
/** Finds the faces of a frame. */
export type Detect = (pixels: Pixels) => Promise<Detections>;
/** Finds the face in each box of a frame. */
export type Align = (pixels: Pixels, boxes: readonly Box[]) => Promise<readonly Face[]>;

/** The detections in a frame, matched to the faces that are followed. */
interface Matched {
  detections: Detections;
  /** IoU of each face with each detection. */
  overlaps: number[][];
  /** Number of a face -> number of its detection. */
  seen: Map<number, number>;
}

const { matchOverlap, driftOverlap, glanceSide, twinOverlap, returnReach, fast, ...DEFAULTS } =
  CONSTANTS.tracking;

/** Default rules. */
export const DEFAULT_TRACKING: TrackingConfig = DEFAULTS;

/** What shows whether a face is where the model searched. */
interface Evidence {
  /** Overlap (IoU) of the searched box and the box of the landmarks found in it. */
  agreement: number;
  /** Distance of the landmarks from the mean face. */
  residual: number;
  confidence: number | null;
}

function evidenceOf(face: Face): Evidence {
  return {
    agreement: overlap(face.box, landmarkBox(face.landmarks)),
    residual: shapeResidual(face.landmarks),
    confidence: face.confidence,
  };
}

/**
 * Whether the detector must find a face before its landmarks are trusted.
 *
 * @param before whether it was doubtful in the last frame: then more confidence is needed.
 */
function isDoubtful(
  { agreement, residual, confidence }: Evidence,
  config: TrackingConfig,
  before: boolean,
): boolean {
  if (agreement < config.minAgreement || residual > config.maxResidual) return true;
  return confidence !== null && confidence < (before ? config.sureConfidence : config.minConfidence);
}

/** One face on its way through the frames. */
class Track {
  /** Pixels since the last frame. */
  motion: Point2 = [0, 0];
  doubtful = false;
  /** Whether it became doubtful in this frame after it was certain for a while. */
  alarm = false;
  /** Number of frames for which it has been certain. */
  sureFor = 0;
  misses = 0;
  lostAt = 0;
  private readonly smoother: OneEuroFilter;

  constructor(
    readonly id: number,
    /** As the model found it, not smoothed. */
    public face: Face,
    public agreement: number,
    private readonly config: TrackingConfig,
  ) {
    this.smoother = new OneEuroFilter(config.smoothing);
  }

  get box(): Box {
    return landmarkBox(this.face.landmarks);
  }

  renew(face: Face): void {
    const evidence = evidenceOf(face);
    this.motion = [0, 0];
    this.face = face;
    this.agreement = evidence.agreement;
    this.doubtful = isDoubtful(evidence, this.config, this.doubtful);
    // Doubt after a while of certainty is worth a detection at once; doubt that comes and goes is not.
    this.alarm = this.doubtful && this.sureFor >= this.config.recheckEvery;
    this.sureFor = this.doubtful ? 0 : this.sureFor + 1;
  }

  /** Box to search in the next frame. */
  nextBox(): Box {
    const { slack } = this.config;
    return followBox(this.face.box, ahead(this.box, this.motion, slack), slack);
  }

  report(time: number): Face {
    const face = { ...this.face, id: this.id };
    if (!this.config.smooth) return face;
    const landmarks = this.smoother.update(time, face.landmarks, boxSize(this.box));
    return { ...face, landmarks, pose: poseInDegrees(landmarks) };
  }
}

/** Decides which faces of one video are searched where; see `Tracker` for its use with an aligner. */
export class FaceTracker {
  readonly config: TrackingConfig;
  private tracks: Track[] = [];
  private lost: Track[] = [];
  private frame = -1;
  private detectedAt = 0;
  private glances = 0; // since the last search by `detect`
  private nextId = 0;
  private size: [number, number] = [0, 0];
  private time = -Infinity;
  /** Whether the faces that are followed are those of the frames upside down. */
  private turned = false;

  constructor(
    private readonly detect: Detect,
    private readonly align: Align,
    config: Partial<TrackingConfig> = {},
    private readonly maxFaces = Infinity,
    /** Finds large faces in less time than `detect`. */
    private readonly glance?: Detect,
  ) {
    this.config = { ...DEFAULT_TRACKING, ...config };
    const unknown = Object.keys(config).filter((name) => !(name in DEFAULT_TRACKING));
    if (unknown.length > 0) {
      const known = Object.keys(DEFAULT_TRACKING).join(", ");
      throw new InputError(
        `tracking: found the unknown settings ${unknown.join(", ")}, expected some of ${known}`,
      );
    }
  }

  /**
   * Finds the faces of the next frame, by rising id.
   *
   * @param time of the frame in seconds, later than that of the last frame.
   */
  async update(pixels: Pixels, time: number): Promise<Face[]> {
    if (!(time > this.time)) {
      throw new InputError(
        `time: found ${time} s, expected more than that of the last frame, ${this.time} s`,
      );
    }
    this.time = time;
    this.frame += 1;
    if (pixels.width !== this.size[0] || pixels.height !== this.size[1]) {
      // Another camera or scale: the places of the last frame mean nothing in this one.
      this.size = [pixels.width, pixels.height];
      this.tracks = [];
      this.lost = [];
    }
    this.lost = this.lost.filter((track) => this.frame - track.lostAt <= this.config.remember);
    const seen = this.turned ? turnRound(pixels) : pixels;
    await this.follow(seen);
    this.drop(this.tracks.filter((track) => this.isTwin(track)));
    if (this.detectionIsDue()) await this.confirm(seen);
    if (this.tracks.length === 0 && this.frame % this.config.detectEvery === 0) {
      await this.tryOtherWayUp(pixels);
    }
    this.tracks.sort((a, b) => a.id - b.id);
    const faces = this.tracks.map((track) => track.report(time));
    return this.turned ? faces.map((face) => turnBack(face, pixels)) : faces;
  }

  /** Searches the frame the other way up, and continues that way if a face is found. */
  private async tryOtherWayUp(pixels: Pixels): Promise<void> {
    const { turned, lost } = this;
    this.turned = !turned;
    this.lost = []; // The places of lost faces are of the other way.
    await this.confirm(this.turned ? turnRound(pixels) : pixels);
    if (this.tracks.length === 0) {
      this.turned = turned;
      this.lost = lost;
    }
  }

  /** Finds the landmarks again, each face where it was. */
  private async follow(pixels: Pixels): Promise<void> {
    const boxes = new Map(this.tracks.map((track) => [track, track.nextBox()]));
    const gone = this.tracks.filter((track) => this.isGone(boxes.get(track)!));
    this.drop(gone);
    if (this.tracks.length === 0) return;
    const faces = await this.align(
      pixels,
      this.tracks.map((track) => boxes.get(track)!),
    );
    this.tracks.forEach((track, index) => {
      const before = track.box;
      track.renew(faces[index]);
      const after = track.box;
      track.motion = [
        (after[0] - before[0] + after[2] - before[2]) / 2,
        (after[1] - before[1] + after[3] - before[3]) / 2,
      ];
    });
  }

  private isGone(box: Box): boolean {
    return longerSide(box) < this.config.minSide || shareInside(box, ...this.size) < this.config.minInside;
  }

  /** Whether a track has come to follow the same face as a better one. */
  private isTwin(track: Track): boolean {
    const better = (other: Track) =>
      other.agreement > track.agreement || (other.agreement === track.agreement && other.id < track.id);
    return this.tracks.some(
      (other) => other !== track && overlap(track.box, other.box) > twinOverlap && better(other),
    );
  }

  private detectionIsDue(): boolean {
    if (this.tracks.length === 0 || this.tracks.some((track) => track.alarm)) return true;
    const unsure = this.lost.length > 0 || this.tracks.some((track) => track.doubtful || track.misses > 0);
    return this.frame - this.detectedAt >= (unsure ? this.config.recheckEvery : this.config.detectEvery);
  }

  /** Runs the detector: confirms faces, drops those it misses, searches doubtful ones again, finds new ones. */
  private async confirm(pixels: Pixels): Promise<void> {
    this.detectedAt = this.frame;
    const { detections, overlaps, seen } = await this.search(pixels);
    const lost: Track[] = [];
    const redetected: [Track, number][] = [];
    this.tracks.forEach((track, number) => {
      const detection = seen.get(number);
      track.misses = detection === undefined ? track.misses + 1 : 0;
      if (track.misses >= (track.doubtful ? this.config.doubtfulMisses : this.config.maxMisses))
        lost.push(track);
      if (detection !== undefined && (track.doubtful || overlaps[number][detection] < driftOverlap)) {
        redetected.push([track, detection]);
      }
    });
    const matched = new Set(seen.values());
    const fresh = detections.map((_, number) => number).filter((number) => !matched.has(number));
    const searched = [...redetected.map(([, number]) => number), ...fresh];
    this.drop(lost);
    if (searched.length === 0) return;
    const found = await this.align(
      pixels,
      searched.map((number) => detections[number].box),
    );
    const faces = found.map((face, index) => ({ ...face, score: detections[searched[index]].score }));
    redetected.forEach(([track], index) => track.renew(faces[index]));
    this.begin(faces.slice(redetected.length));
  }

  /** Glances at the frame, if that will do, or else searches it for faces of all sizes. */
  private async search(pixels: Pixels): Promise<Matched> {
    if (this.glance && this.mayGlance(pixels)) {
      const matched = this.match(await this.glance(pixels));
      if (matched.seen.size === this.tracks.length) {
        this.glances++;
        return matched;
      }
    }
    this.glances = 0;
    return this.match(await this.detect(pixels));
  }

  /** Whether only new faces are looked for, as the known ones are sure, and large enough to be seen. */
  private mayGlance({ width, height }: Pixels): boolean {
    const least = glanceSide * Math.max(width, height);
    return (
      this.tracks.length > 0 &&
      this.glances < this.config.glances &&
      this.lost.length === 0 &&
      this.tracks.every((track) => !track.doubtful && track.misses === 0 && longerSide(track.box) >= least)
    );
  }

  /** Tells of which faces the detections are that are in the frame and large enough. */
  private match(found: Detections): Matched {
    const detections = found.filter(({ box }) => !this.isGone(box));
    const overlaps = this.tracks.map((track) => detections.map(({ box }) => overlap(track.box, box)));
    const costs = overlaps.map((row) => row.map((value) => 1 - value));
    return { detections, overlaps, seen: match(costs, 1 - matchOverlap) };
  }

  /** Starts to follow detected faces, unless they are doubtful or followed already. */
  private begin(faces: readonly Face[]): void {
    const known = this.tracks.map((track) => track.box);
    const fresh = faces
      .map((face) => ({ face, evidence: evidenceOf(face) }))
      .filter(({ face, evidence }) => {
        const box = landmarkBox(face.landmarks);
        return (
          !isDoubtful(evidence, this.config, this.turned) &&
          !known.some((other) => overlap(box, other) > twinOverlap)
        );
      })
      .slice(0, Math.max(this.maxFaces - this.tracks.length, 0));
    const lostBoxes = this.lost.map((track) => track.box);
    const returned = match(
      fresh.map(({ face }) => lostBoxes.map((box) => distance(face.box, box))),
      returnReach,
    );
    fresh.forEach(({ face, evidence }, number) => {
      const back = returned.get(number);
      const id = back === undefined ? this.nextId++ : this.lost[back].id;
      this.tracks.push(new Track(id, face, evidence.agreement, this.config));
    });
    const back = new Set(returned.values());
    this.lost = this.lost.filter((_, number) => !back.has(number));
  }

  private drop(lost: readonly Track[]): void {
    this.tracks = this.tracks.filter((track) => !lost.includes(track));
    for (const track of lost) {
      track.lostAt = this.frame;
      this.lost.push(track);
    }
  }
}

export interface TrackerOptions {
  /** Changes to the default rules. */
  config?: Partial<TrackingConfig>;
  /** Which networks search for faces: by default "short". */
  detector?: DetectorChoice;
  /** Most faces that are followed at a time; by default all. */
  maxFaces?: number;
  /** Whether frames are also searched in overlapping tiles for small faces; by default not. */
  tiles?: boolean;
  /** Whether the whole face is fitted to the smoothed landmarks, too: `Face.mesh`. */
  mesh?: boolean;
}

/**
 * Follows the faces of one video or camera.
 *
 * ```ts
 * const tracker = new Tracker(aligner);
 * const faces = await tracker.update(video, performance.now() / 1000);
 * ```
 */
export class Tracker {
  private tracker: FaceTracker;
  private readonly start: () => FaceTracker;
  private fits = new Map<number, FaceFit | undefined>();
  /** Whether the whole face is fitted; it may change between two frames. */
  mesh: boolean;

  constructor(
    private readonly aligner: Aligner,
    options: TrackerOptions = {},
  ) {
    this.mesh = options.mesh ?? false;
    const finder = aligner.finder(options.detector ?? "short", options.maxFaces);
    this.start = () =>
      new FaceTracker(
        (pixels) => finder.detect(pixels, options.tiles),
        (pixels, boxes) =>
          aligner.alignBoxes(
            pixels,
            boxes.map((box) => ({ box, score: null })),
          ),
        options.config,
        options.maxFaces,
        options.detector === "auto" && !options.tiles ? (pixels) => finder.glance(pixels) : undefined,
      );
    this.tracker = this.start();
  }

  /**
   * Finds the faces of the next frame, by rising id; an id stays with its face.
   *
   * @param time of the frame in seconds, later than that of the last frame.
   */
  async update(image: ImageInput, time: number): Promise<Face[]> {
    const picture = await this.aligner.read(image);
    const faces = await this.tracker.update(picture.pixels, time);
    const scale = picture.width / picture.pixels.width;
    const found = scale === 1 ? faces : faces.map((face) => scaleFace(face, scale));
    if (!this.mesh) return found;
    const starts = found.map(({ id }) => this.fits.get(id!));
    const fitted = await this.aligner.withMeshes(found, picture.height, starts);
    this.fits = new Map(fitted.map(({ id, mesh }) => [id!, mesh]));
    return fitted;
  }

  /** Forgets all faces, for example after a jump in the video. */
  reset(): void {
    this.tracker = this.start();
    this.fits.clear();
  }
}

/** Where a face will be in the next frame if it moves on as before; little motion counts as none. */
export function ahead(box: Box, motion: Point2, slack: number): Box {
  if (!(Math.hypot(...motion) > fast * slack * longerSide(box))) return box;
  return [box[0] + motion[0], box[1] + motion[1], box[2] + motion[0], box[3] + motion[1]];
}

/** Box to search next: the last one, moved and scaled no more than needed to stay within `slack` of the face. */
export function followBox(last: Box, found: Box, slack: number): Box {
  const size: Point2 = [found[2] - found[0], found[3] - found[1]];
  const reach = slack * Math.max(...size);
  const box: Box = [0, 0, 0, 0];
  for (const axis of [0, 1] as const) {
    const target = (found[axis] + found[axis + 2]) / 2;
    const centre = clamp((last[axis] + last[axis + 2]) / 2, target - reach, target + reach);
    const half = clamp(last[axis + 2] - last[axis], size[axis] / (1 + slack), size[axis] * (1 + slack)) / 2;
    box[axis] = centre - half;
    box[axis + 2] = centre + half;
  }
  return box;
}

/** Distance of two boxes: of their centres in units of the mean size, and the log of the ratio of the sizes. */
export function distance(a: Box, b: Box): number {
  const between = Math.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2;
  const [first, second] = [boxSize(a), boxSize(b)];
  return Math.hypot(between / ((first + second) / 2), Math.log(first / second));
}

/** Pairs rows and columns at the least sum of costs; pairs that cost more than `limit` are left out. */
export function match(costs: readonly (readonly number[])[], limit: number): Map<number, number> {
  const pairs = new Map<number, number>();
  if (costs.length === 0 || costs[0].length === 0) return pairs;
  // Forbidden pairs cost the same everywhere, so that they cannot push a good pair apart.
  const matrix = new Matrix(costs.map((row) => row.map((cost) => (cost <= limit ? cost : limit + 1))));
  const { rowAssignments } = linearSumAssignment(matrix, { maximaze: false });
  rowAssignments.forEach((column, row) => {
    if (column >= 0 && costs[row][column] <= limit) pairs.set(row, column);
  });
  return pairs;
}

/** Share of a box that is inside a picture, whose pixel centres are at integers. */
export function shareInside(box: Box, width: number, height: number): number {
  const inside = (low: number, high: number, side: number) =>
    Math.max(Math.min(high, side - 0.5) - Math.max(low, -0.5), 0);
  const area = (box[2] - box[0]) * (box[3] - box[1]);
  return (inside(box[0], box[2], width) * inside(box[1], box[3], height)) / area;
}
