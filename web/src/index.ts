/**
 * 68 three-dimensional facial landmarks at any head pose, in the browser, without a server.
 *
 * ```ts
 * import { Aligner, drawFaces } from "tf-dhm";
 *
 * const aligner = await Aligner.create();
 * const faces = await aligner.align(image);
 * drawFaces(context, faces);
 * ```
 */

export { Aligner } from "./aligner.js";
export type { AlignerOptions, AlignOptions } from "./aligner.js";
export { CONTOURS, MIN_CONFIDENCE, MIRROR, NUM_LANDMARKS, VERSION } from "./constants.js";
export type { DetectorChoice, SmoothingConfig, TrackingConfig } from "./constants.js";
export type { Detection } from "./detector.js";
export { drawFaces } from "./drawing.js";
export type { Part } from "./drawing.js";
export { InputError } from "./errors.js";
export { faceRecord, isConvincing } from "./face.js";
export type { Face, FaceRecord, Pose } from "./face.js";
export { FaceFitter } from "./fit.js";
export type { FaceFit } from "./fit.js";
export type { Box, Point } from "./geometry.js";
export type { ImageInput } from "./image.js";
export { DEFAULT_TRACKING, Tracker } from "./tracking.js";
export type { TrackerOptions } from "./tracking.js";
