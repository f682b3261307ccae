/** Landmarks, contours, the fitted face and pose axes on a canvas. */

import { CONSTANTS, CONTOURS } from "./constants.js";
import type { Face, Pose } from "./face.js";
import { landmarkBox, rotationMatrix } from "./geometry.js";
import type { Point } from "./geometry.js";
import { drawSurface } from "./surface.js";

/**
 * What is drawn of a face. "visibility" fades hidden points and needs "points"; "mesh" is drawn of faces that
 * were fitted.
 */
export type Part = "points" | "contours" | "mesh" | "axes" | "ids" | "visibility" | "box";

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

const { colours } = CONSTANTS;
/** Opacity of a point that is certainly hidden. */
const HIDDEN_OPACITY = 0.15;

function css([red, green, blue]: readonly number[], opacity = 1): string {
  return `rgb(${red} ${green} ${blue} / ${opacity})`;
}

/** Draws faces in pixels of the canvas. */
export function drawFaces(
  context: Context,
  faces: readonly Face[],
  parts: Iterable<Part> = ["points", "contours"],
): void {
  const chosen = new Set(parts);
  context.save();
  if (chosen.has("mesh")) drawMeshes(context, faces);
  // Pixel centres are at integers in landmarks and at halves on a canvas.
  context.translate(0.5, 0.5);
  context.lineJoin = "round";
  context.lineCap = "round";
  for (const face of faces) {
    if (chosen.has("box")) drawBox(context, face);
    if (chosen.has("contours")) drawContours(context, face.landmarks);
    if (chosen.has("points"))
      drawPoints(context, face.landmarks, chosen.has("visibility") ? face.visibility : null);
    if (chosen.has("axes")) drawAxes(context, face.landmarks, face.pose);
    if (chosen.has("ids") && face.id !== null) drawId(context, face.landmarks, face.id);
  }
  context.restore();
}

/** Longer side of the landmark box in pixels. */
function faceSize(landmarks: readonly Point[]): number {
  const [x0, y0, x1, y1] = landmarkBox(landmarks);
  return Math.max(x1 - x0, y1 - y0);
}

function lineWidth(landmarks: readonly Point[]): number {
  return Math.max(1, faceSize(landmarks) / 200);
}

function drawPoints(
  context: Context,
  landmarks: readonly Point[],
  visibility: readonly number[] | null,
): void {
  const radius = Math.max(faceSize(landmarks) / 110, 0.7);
  landmarks.forEach(([x, y], index) => {
    const seen = visibility ? visibility[index] : 1;
    context.fillStyle = css(colours.points, HIDDEN_OPACITY + (1 - HIDDEN_OPACITY) * seen);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  });
}

function drawContours(context: Context, landmarks: readonly Point[]): void {
  context.strokeStyle = css(colours.contours);
  context.lineWidth = lineWidth(landmarks);
  for (const { points, closed } of CONTOURS) {
    tracePath(
      context,
      points.map((index) => landmarks[index]),
      closed,
    );
    context.stroke();
  }
}

let layer: OffscreenCanvasRenderingContext2D | null = null;

/** A canvas of at least this size; always the same one, because making one for every frame takes time. */
function layerOf(width: number, height: number): OffscreenCanvasRenderingContext2D {
  layer ??= new OffscreenCanvas(width, height).getContext("2d")!;
  const { canvas } = layer;
  if (canvas.width < width) canvas.width = width;
  if (canvas.height < height) canvas.height = height;
  return layer;
}

/** The fitted faces, shaded, over the picture; the smallest, which are the farthest, first. */
function drawMeshes(context: Context, faces: readonly Face[]): void {
  const fits = faces.flatMap(({ mesh }) => mesh ?? []).sort((a, b) => a.scale - b.scale);
  for (const fit of fits) {
    const surface = drawSurface(fit, context.canvas.width, context.canvas.height);
    if (!surface) continue;
    const { data, width, height, x, y } = surface;
    const layer = layerOf(width, height);
    layer.putImageData(new ImageData(data, width, height), 0, 0);
    context.globalAlpha = CONSTANTS.meshPicture.opacity;
    context.drawImage(layer.canvas, 0, 0, width, height, x, y, width, height);
    context.globalAlpha = 1;
  }
}

function tracePath(context: Context, points: readonly Point[], closed: boolean): void {
  context.beginPath();
  points.forEach(([x, y], index) => (index === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  if (closed) context.closePath();
}

/** The axes of the head from the tip of the nose, half a face long: right (red), up (green), forward (blue). */
function drawAxes(context: Context, landmarks: readonly Point[], pose: Pose): void {
  const radians = Math.PI / 180;
  const rotation = rotationMatrix({
    pitch: pose.pitch * radians,
    yaw: pose.yaw * radians,
    roll: pose.roll * radians,
  });
  const [x, y] = landmarks[30];
  const length = faceSize(landmarks) / 2;
  context.lineWidth = 2 * lineWidth(landmarks);
  // The axis that points farthest away is drawn first, so that nearer ones cover it.
  const order = ([0, 1, 2] as const).slice().sort((a, b) => rotation[2][a] - rotation[2][b]);
  for (const axis of order) {
    context.strokeStyle = css(colours.axes[axis]);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + length * rotation[0][axis], y - length * rotation[1][axis]);
    context.stroke();
  }
}

function drawBox(context: Context, { box, landmarks }: Face): void {
  context.strokeStyle = css(colours.ids);
  context.lineWidth = lineWidth(landmarks);
  context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
}

/** The number of a face above its brows, with a dark rim, so that it can be read on any picture. */
function drawId(context: Context, landmarks: readonly Point[], id: number): void {
  const [x0, y0, x1] = landmarkBox(landmarks);
  // A whole number, because a browser prepares the font again for every size.
  const height = Math.round(Math.max(faceSize(landmarks) / 9, 12));
  context.font = `600 ${height}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "bottom";
  context.lineWidth = height / 5;
  context.strokeStyle = "black";
  context.fillStyle = css(colours.ids);
  const at = [(x0 + x1) / 2, Math.max(y0 - height / 2, height)] as const;
  context.strokeText(String(id), ...at);
  context.fillText(String(id), ...at);
}
