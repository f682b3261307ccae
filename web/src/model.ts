/** A landmark model: a `*_web.tflite` file, which takes one crop at a time. */

import { NUM_LANDMARKS } from "./constants.js";
import { InputError } from "./errors.js";
import type { Point } from "./geometry.js";
import { diffusionHeatmap } from "./heatmap.js";
import type { Network, Values } from "./network.js";

/** What a model predicts for a crop. */
export interface Prediction {
  /** 68 landmarks in pixels of the crop. */
  landmarks: Point[];
  /** 0 to 1 per landmark: how likely it is to be seen; null for a model without this output. */
  visibility: number[] | null;
  /** 0 to 1: how likely the landmarks are right; null for a model without this output. */
  confidence: number | null;
}

const REFINE = "refine";

export class LandmarkModel {
  /** Side of the crops in pixels. */
  readonly inputSize: number;
  /** Whether a second pass can start from the landmarks of the first one. */
  readonly canRefine: boolean;

  constructor(private readonly network: Network) {
    const { inputs, outputs } = network;
    const shape = inputs[0]?.shape ?? [];
    const landmarks = outputs.find(({ name }) => name === "landmarks");
    const isModel =
      inputs.length === 1 &&
      inputs[0].dtype === "uint8" &&
      shape.length === 4 &&
      shape[0] === 1 &&
      shape[1] === shape[2] &&
      shape[3] === 3 &&
      landmarks?.shape.join() === [1, NUM_LANDMARKS, 3].join();
    if (!isModel) {
      const found = [...inputs, ...outputs].map(
        (tensor) => `${tensor.name} ${tensor.dtype} (${tensor.shape.join(", ")})`,
      );
      throw new InputError(
        `model ${network.name}: found ${found.join(", ")}, expected uint8 crops (1, S, S, 3) and landmarks ` +
          `(1, ${NUM_LANDMARKS}, 3): a file NAME_web.tflite that export.py wrote`,
      );
    }
    this.inputSize = shape[1];
    this.canRefine = network.signatures.includes(REFINE);
  }

  get name(): string {
    return this.network.name;
  }

  /**
   * Predicts the landmarks of a crop.
   *
   * @param crop S x S x 3 RGB.
   * @param initial landmarks in pixels of the crop to start from, instead of the mean face.
   */
  async predict(crop: Uint8Array<ArrayBuffer>, initial?: readonly Point[]): Promise<Prediction> {
    const shape = [1, this.inputSize, this.inputSize, 3];
    const inputs: Record<string, Values> = { crops: { data: crop, shape } };
    if (initial) {
      if (!this.canRefine) throw new InputError(`model ${this.name}: it has no second pass`);
      inputs.heatmap = { data: diffusionHeatmap(initial, this.inputSize), shape };
    }
    const outputs = await this.network.run(inputs, initial ? REFINE : undefined);
    const values = outputs.get("landmarks")!;
    if (!values.every(Number.isFinite)) {
      throw new InputError(`model ${this.name}: found NaN or infinite landmarks, expected finite ones`);
    }
    const landmarks = Array.from({ length: NUM_LANDMARKS }, (_, index): Point => [
      values[3 * index],
      values[3 * index + 1],
      values[3 * index + 2],
    ]);
    const visibility = outputs.get("visibility");
    return {
      landmarks,
      visibility: visibility ? Array.from(visibility) : null,
      confidence: outputs.get("confidence")?.[0] ?? null,
    };
  }

  close(): void {
    this.network.close();
  }
}
