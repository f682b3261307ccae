/** TFLite files in the browser: LiteRT's WebAssembly runtime, loaded once from the package's own files. */

import { getGlobalLiteRtPromise, loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import type { CompiledModel } from "@litertjs/core";
import { simd } from "wasm-feature-detect";

import { InputError } from "./errors.js";

/** Values and shape of a tensor. */
export interface Values {
  data: Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  shape: readonly number[];
}

export interface TensorInfo {
  name: string;
  dtype: string;
  shape: number[];
}

/** A network with one or more signatures; the first one is the default. */
export interface Network {
  readonly name: string;
  /** Inputs of the default signature. */
  readonly inputs: readonly TensorInfo[];
  /** Outputs of the default signature. */
  readonly outputs: readonly TensorInfo[];
  readonly signatures: readonly string[];
  /** Runs a signature with inputs in the order of its definition, or by name. */
  run(inputs: Values[] | Record<string, Values>, signature?: string): Promise<Outputs>;
  close(): void;
}

/** Output values by name. */
export class Outputs extends Map<string, Float32Array> {
  find(test: (values: Float32Array) => boolean): Float32Array | undefined {
    return [...this.values()].find(test);
  }
}

/**
 * The build of LiteRT that is shipped. It needs WebAssembly SIMD, but neither relaxed SIMD nor threads, so
 * that it runs in every current browser; the other builds are not faster for these networks.
 */
export const RUNTIME_FILE = "litert_wasm_compat_internal.js";

const NO_SIMD =
  "This browser has no WebAssembly SIMD, which the networks need. Use a current version of Chrome, Edge, " +
  "Firefox or Safari (16.4 or later).";

/** Loads LiteRT from a folder, once for all networks. */
export async function loadRuntime(folder: string): Promise<void> {
  if (typeof WebAssembly === "undefined" || !(await simd())) throw new InputError(NO_SIMD);
  const loading = getGlobalLiteRtPromise();
  if (loading) {
    await loading;
    return;
  }
  const script = new URL(RUNTIME_FILE, folder).href;
  // Settings for the module that the script defines. It writes notes to the error stream.
  (globalThis as { Module?: object }).Module = {
    locateFile: (file: string) => new URL(file, folder).href,
    printErr: (line: string) => {
      if (!/^(INFO|WARNING|VERBOSE)\b/.test(line)) console.error(line);
    },
  };
  try {
    await loadLiteRt(script);
  } catch (error) {
    const reason = error instanceof Error ? `: ${error.message}` : "";
    throw new InputError(
      `The WebAssembly runtime could not be loaded from ${script}${reason}. Check that the folder ` +
        "of the package's assets is served there.",
      { cause: error },
    );
  }
}

/** Downloads a file. */
export async function fetchBytes(url: string): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new InputError(`${url} could not be loaded: ${(error as Error).message}`, { cause: error });
  }
  if (!response.ok) throw new InputError(`${url} could not be loaded: HTTP status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Identifier of a TFLite file, at bytes 4 to 7. */
const TFLITE = "TFL3";

/** Loads a TFLite file. */
export async function loadNetwork(url: string): Promise<Network> {
  const name = url.split("/").at(-1)!.split("?")[0];
  const bytes = await fetchBytes(url);
  if (String.fromCharCode(...bytes.subarray(4, 8)) !== TFLITE) {
    throw new InputError(`${url}: found ${bytes.length} bytes that are not a TFLite file`);
  }
  let model: CompiledModel;
  try {
    model = await loadAndCompile(bytes, { accelerator: "wasm" });
  } catch (error) {
    throw new InputError(`${url}: the TFLite file could not be loaded: ${String(error)}`, { cause: error });
  }
  return new LiteRtNetwork(name, model);
}

class LiteRtNetwork implements Network {
  readonly inputs: TensorInfo[];
  readonly outputs: TensorInfo[];
  readonly signatures: string[];

  constructor(
    readonly name: string,
    private readonly model: CompiledModel,
  ) {
    const describe = (details: ReturnType<CompiledModel["getInputDetails"]>) =>
      details.map(({ name, dtype, shape }) => ({ name, dtype, shape: Array.from(shape) }));
    this.inputs = describe(model.getInputDetails());
    this.outputs = describe(model.getOutputDetails());
    this.signatures = Object.keys(model.signatures);
  }

  async run(inputs: Values[] | Record<string, Values>, signature?: string): Promise<Outputs> {
    const runner = signature === undefined ? this.model : this.model.signatures[signature];
    const named = Array.isArray(inputs)
      ? runner.getInputDetails().map(({ name }, index) => [name, inputs[index]] as const)
      : Object.entries(inputs);
    const tensors = Object.fromEntries(
      named.map(([name, { data, shape }]) => [name, new Tensor(data, [...shape])]),
    );
    try {
      const results = await runner.run(tensors);
      const outputs = new Outputs();
      for (const [name, tensor] of Object.entries(results)) {
        outputs.set(name, tensor.toTypedArray() as Float32Array);
        tensor.delete();
      }
      return outputs;
    } finally {
      for (const tensor of Object.values(tensors)) tensor.delete();
    }
  }

  close(): void {
    this.model.delete();
  }
}
