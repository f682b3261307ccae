/** `Aligner`: the faces of a picture with landmarks, box, pose, visibility and confidence. */

import { CONSTANTS, MIN_CONFIDENCE } from "./constants.js";
import type { DetectorChoice, Range } from "./constants.js";
import { FaceDetector } from "./detector.js";
import type { Detection } from "./detector.js";
import { InputError } from "./errors.js";
import { isConvincing } from "./face.js";
import type { Face, Pose } from "./face.js";
import { FaceFitter, fitProblem } from "./fit.js";
import type { FaceFit } from "./fit.js";
import { FaceFinder, merge } from "./finding.js";
import {
  boxSize,
  checkBox,
  invertAffine,
  landmarkBox,
  longerSide,
  poseFromLandmarks,
  transformLandmarks,
  uprightBox,
  uprightRoll,
} from "./geometry.js";
import type { Box, Point } from "./geometry.js";
import { PixelReader } from "./image.js";
import type { ImageInput, Picture } from "./image.js";
import { LandmarkModel } from "./model.js";
import type { Prediction } from "./model.js";
import { loadNetwork, loadRuntime } from "./network.js";
import { cutCrop } from "./crops.js";
import { turnRound } from "./pixels.js";
import type { Pixels } from "./pixels.js";

export interface AlignerOptions {
  /**
   * URL of the folder with the package's assets: networks and WebAssembly runtime. By default they are
   * loaded from `assets` beside the module, which works for pages without a bundler.
   */
  assets?: string | URL;
  /** Name of a model in the assets, or the URL of a file `NAME_web.tflite`. */
  model?: string | URL;
}

export interface AlignOptions {
  /** Landmark boxes in pixels of the picture; by default faces are detected. */
  boxes?: readonly ArrayLike<number>[];
  /**
   * 1 to 3 runs of the model per face. By default 1 for given boxes, and for detected faces 2, with a third one
   * if the first two differ by more than 4 % of the size of the face.
   */
  passes?: number;
  /** Which networks search for faces: by default "auto". */
  detector?: DetectorChoice;
  /** Most faces that are detected, the ones with the highest scores; by default all. */
  maxFaces?: number;
  /**
   * 0 to 1, by default `MIN_CONFIDENCE`. Small faces from tiles, and those of a picture that was searched
   * upside down because no face was beyond doubt, are kept only if they have it.
   */
  minConfidence?: number;
  /**
   * Whether the picture is also searched in overlapping tiles, which finds faces down to 1/50 of the longer
   * side and takes ten times as long to detect; by default if the longer side is above 2,000 pixels.
   */
  tiles?: boolean;
  /** Whether the whole face is fitted, too: `Face.mesh`. */
  mesh?: boolean;
}

export class Aligner {
  private readonly reader = new PixelReader();
  private readonly detectors = new Map<Range, Promise<FaceDetector>>();
  private fitting: Promise<FaceFitter> | null = null;

  private constructor(
    /** The landmark model. */
    readonly model: LandmarkModel,
    private readonly assets: string,
  ) {}

  /**
   * Loads the runtime and a landmark model.
   *
   * ```ts
   * const aligner = await Aligner.create();
   * const faces = await aligner.align(document.querySelector("img")!);
   * ```
   */
  static async create(options: AlignerOptions = {}): Promise<Aligner> {
    const assets = assetsFolder(options.assets);
    await loadRuntime(new URL("wasm/", assets).href);
    return new Aligner(await loadModel(options.model ?? CONSTANTS.defaultModel, assets), assets);
  }

  /**
   * Finds the landmarks of the faces of a picture.
   *
   * @returns the faces in the order of `boxes`, or by falling score of their detection.
   */
  async align(image: ImageInput, options: AlignOptions = {}): Promise<Face[]> {
    const picture = await this.reader.read(image);
    const scale = picture.pixels.width / picture.width;
    const faces = options.boxes
      ? await this.alignBoxes(
          picture.pixels,
          options.boxes.map((box) => ({ box: scaleBox(checkInside(box, picture), scale), score: null })),
          options.passes,
        )
      : await this.alignDetected(picture.pixels, options);
    const found = scale === 1 ? faces : faces.map((face) => scaleFace(face, 1 / scale));
    return options.mesh ? this.withMeshes(found, picture.height) : found;
  }

  /**
   * Fits the whole face to the landmarks of each face; `pose` is then that of the fit.
   *
   * @param height of the picture in pixels, on which the translation in `p` depends.
   * @param starts of each face the fit of the last frame, if there is one.
   */
  async withMeshes(faces: readonly Face[], height: number, starts: readonly (FaceFit | undefined)[] = []) {
    const fitter = await this.fitter();
    return faces.map((face, index): Face => {
      const problem = fitProblem(face);
      if (problem !== null) return { ...face, fitProblem: problem };
      const mesh = fitter.fit(face, height, starts[index]);
      return { ...face, mesh, pose: mesh.pose };
    });
  }

  /** Loads what fits the whole face, before its first use. */
  fitter(): Promise<FaceFitter> {
    if (!this.fitting) {
      this.fitting = FaceFitter.load(new URL("face/open_face.safetensors", this.assets).href);
      // A failed download can be repeated.
      this.fitting.catch(() => (this.fitting = null));
    }
    return this.fitting;
  }

  /** The faces that are detected; a picture without one beyond doubt is searched upside down, too. */
  private async alignDetected(pixels: Pixels, options: AlignOptions): Promise<Face[]> {
    const { detector, maxFaces = Infinity, minConfidence = MIN_CONFIDENCE, passes } = options;
    if (!(maxFaces >= 1)) throw new InputError(`maxFaces: found ${maxFaces}, expected 1 or more`);
    if (!(minConfidence >= 0 && minConfidence <= 1)) {
      throw new InputError(`minConfidence: found ${minConfidence}, expected 0 to 1`);
    }
    const finder = this.finder(detector, maxFaces);
    const runs = passes ?? (this.model.canRefine ? 2 : 1);
    const settles = passes === undefined && runs > 1;
    const predict = (image: Pixels, detections: readonly Detection[]) =>
      this.alignBoxes(image, detections, runs, settles);
    const side = Math.max(pixels.width, pixels.height);
    const usesTiles = options.tiles ?? side > CONSTANTS.tiles.above;
    const largestInTile = CONSTANTS.tiles.face * CONSTANTS.tiles.share * side;
    const convincing = (face: Face) => isConvincing(face, minConfidence);
    const search = async (image: Pixels): Promise<Face[]> => {
      let faces = await finder.find(image, predict);
      if (usesTiles) {
        faces = merge([...faces, ...(await finder.findInTiles(image, predict))]);
        // What only the tiles add must be convincing.
        faces = faces.filter((face) => convincing(face) || longerSide(face.box) > largestInTile);
      }
      return faces.slice(0, maxFaces);
    };
    const faces = await search(pixels);
    const highest = highestConfidence(faces);
    const sure = Math.max(CONSTANTS.finding.sure, minConfidence);
    if (highest >= sure) return faces;
    const turned = (await search(turnRound(pixels))).filter(convincing);
    if (turned.length === 0) return faces;
    // A convincing face gives way only to one beyond doubt.
    const needed = Math.max(highest, faces.some(convincing) ? sure : 0);
    return highestConfidence(turned) >= needed ? turned.map((face) => turnBack(face, pixels)) : faces;
  }

  /** Searches pictures with this aligner's detectors. */
  finder(choice?: DetectorChoice, maxFaces?: number): FaceFinder {
    return new FaceFinder(
      async (range, pixels, margin) => (await this.detector(range)).look(pixels, margin),
      choice,
      maxFaces,
    );
  }

  /** Reads the pixels of a picture at full size, or reduced if it is very large. */
  read(image: ImageInput): Promise<Picture> {
    return this.reader.read(image);
  }

  /**
   * Finds the landmarks of faces in given boxes of pixels.
   *
   * @param settles whether a face whose last two passes differ by more than 4 % of its size gets one more.
   */
  async alignBoxes(
    pixels: Pixels,
    places: readonly { box: Box; score: number | null }[],
    passes = 1,
    settles = false,
  ): Promise<Face[]> {
    if (!Number.isInteger(passes) || passes < 1 || passes > CONSTANTS.maxPasses) {
      throw new InputError(`passes: found ${passes}, expected 1 to ${CONSTANTS.maxPasses}`);
    }
    if (passes > 1 && !this.model.canRefine) {
      throw new InputError(`model ${this.model.name}: it has no second pass, so passes must be 1`);
    }
    const faces: Face[] = [];
    for (const { box, score } of places) {
      const { landmarks, visibility, confidence } = await this.alignBox(pixels, box, passes, settles);
      faces.push({ landmarks, box, score, pose: poseInDegrees(landmarks), id: null, visibility, confidence });
    }
    return faces;
  }

  /** Every pass after the first starts from the landmarks found so far, in a crop turned upright. */
  private async alignBox(pixels: Pixels, box: Box, passes: number, settles: boolean): Promise<Prediction> {
    let crop = cutCrop(pixels, checkBox(box), this.model.inputSize);
    let prediction = await this.model.predict(crop.data);
    let landmarks = transformLandmarks(crop.toImage, prediction.landmarks);
    const again = async (): Promise<boolean> => {
      const before = landmarks;
      const roll = uprightRoll(before);
      crop = cutCrop(pixels, uprightBox(before, roll), this.model.inputSize, roll);
      prediction = await this.model.predict(
        crop.data,
        transformLandmarks(invertAffine(crop.toImage), before),
      );
      landmarks = transformLandmarks(crop.toImage, prediction.landmarks);
      return differ(before, landmarks);
    };
    let unsettled = false;
    for (let pass = 1; pass < passes; pass++) unsettled = await again();
    if (settles && unsettled) await again();
    return { ...prediction, landmarks };
  }

  /** Loads a detector before its first use. */
  async loadDetector(range: Range): Promise<void> {
    await this.detector(range);
  }

  private detector(range: Range): Promise<FaceDetector> {
    let loading = this.detectors.get(range);
    if (!loading) {
      const config = CONSTANTS.detectors[range];
      const url = new URL(`detectors/${config.file}`, this.assets).href;
      loading = loadNetwork(url).then((network) => new FaceDetector(network, config));
      this.detectors.set(range, loading);
      // A failed download can be repeated.
      loading.catch(() => this.detectors.delete(range));
    }
    return loading;
  }

  /** Frees the memory of the networks. */
  close(): void {
    this.model.close();
    for (const loading of this.detectors.values()) void loading.then((detector) => detector.close());
    this.detectors.clear();
  }
}

/** Whether the landmarks of two passes differ by so much that a third one is worth its time. */
export function differ(before: readonly Point[], after: readonly Point[]): boolean {
  const sum = after.reduce((total, [x, y], i) => total + Math.hypot(x - before[i][0], y - before[i][1]), 0);
  return sum / after.length > CONSTANTS.unsettled * boxSize(landmarkBox(after));
}

/** URL of the assets folder with a slash at its end. */
function assetsFolder(assets: string | URL | undefined): string {
  const base = typeof document === "undefined" ? import.meta.url : document.baseURI;
  const folder = new URL(assets ?? "assets", assets === undefined ? import.meta.url : base);
  return folder.href.endsWith("/") ? folder.href : `${folder.href}/`;
}

async function loadModel(model: string | URL, assets: string): Promise<LandmarkModel> {
  const isName = typeof model === "string" && /^\w+$/.test(model);
  const base = typeof document === "undefined" ? assets : document.baseURI;
  const url = isName ? new URL(`models/${model}_web.tflite`, assets) : new URL(model, base);
  return new LandmarkModel(await loadNetwork(url.href));
}

export function poseInDegrees(landmarks: readonly Point[]): Pose {
  const { pitch, yaw, roll } = poseFromLandmarks(landmarks);
  const degrees = 180 / Math.PI;
  return { pitch: pitch * degrees, yaw: yaw * degrees, roll: roll * degrees };
}

function checkInside(box: ArrayLike<number>, { width, height }: Picture): Box {
  const checked = checkBox(box);
  const [x0, y0, x1, y1] = checked;
  if (x0 >= width || y0 >= height || x1 <= 0 || y1 <= 0) {
    throw new InputError(
      `box: found [${checked.join(", ")}], expected a part of it inside the picture of ${width} x ${height} pixels`,
    );
  }
  return checked;
}

/** Pixel coordinates in a picture of another size: pixel centres are at integers. */
function scaleCoordinate(value: number, scale: number): number {
  return (value + 0.5) * scale - 0.5;
}

function scaleBox(box: Box, scale: number): Box {
  return box.map((value) => scaleCoordinate(value, scale)) as Box;
}

/** Of a model without confidences, 1 if there is a face; 0 if there is none. */
function highestConfidence(faces: readonly Face[]): number {
  return Math.max(0, ...faces.map((face) => face.confidence ?? 1));
}

/** A face that was found upside down, in the picture as it is. */
export function turnBack(face: Face, { width, height }: Pixels): Face {
  const [x0, y0, x1, y1] = face.box;
  const landmarks = face.landmarks.map(([x, y, z]): Point => [width - 1 - x, height - 1 - y, z]);
  const box: Box = [width - 1 - x1, height - 1 - y1, width - 1 - x0, height - 1 - y0];
  return { ...face, box, landmarks, pose: poseInDegrees(landmarks) };
}

export function scaleFace(face: Face, scale: number): Face {
  return {
    ...face,
    box: scaleBox(face.box, scale),
    landmarks: face.landmarks.map(([x, y, z]) => [
      scaleCoordinate(x, scale),
      scaleCoordinate(y, scale),
      z * scale,
    ]),
  };
}
