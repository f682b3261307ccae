/** Arrays of a safetensors file: https://github.com/huggingface/safetensors. */

import { InputError } from "./errors.js";

const TYPES = {
  F64: Float64Array,
  F32: Float32Array,
  I16: Int16Array,
  U16: Uint16Array,
  U8: Uint8Array,
} as const;

type Values = InstanceType<(typeof TYPES)[keyof typeof TYPES]>;

interface Entry {
  dtype: keyof typeof TYPES;
  shape: number[];
  data_offsets: [number, number];
}

/** Numbers with their shape, row by row. */
export interface NumberArray<T extends Values = Values> {
  readonly data: T;
  readonly shape: readonly number[];
}

/** The arrays of a safetensors file by name. They are views of its bytes. */
export class Arrays {
  private readonly entries: Record<string, Entry>;
  private readonly start: number;

  constructor(
    private readonly bytes: Uint8Array<ArrayBuffer>,
    private readonly name: string,
  ) {
    try {
      const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
      this.start = 8 + length;
      this.entries = JSON.parse(new TextDecoder().decode(bytes.subarray(8, this.start)));
    } catch (error) {
      throw new InputError(`${name}: found ${bytes.length} bytes that are not a safetensors file`, {
        cause: error,
      });
    }
  }

  get(name: string): NumberArray {
    const entry = this.entries[name];
    if (!entry || !(entry.dtype in TYPES)) {
      throw new InputError(`${this.name}: found no array ${JSON.stringify(name)} of a known type`);
    }
    const Type = TYPES[entry.dtype];
    const [from, to] = entry.data_offsets;
    const at = this.bytes.byteOffset + this.start + from;
    const count = (to - from) / Type.BYTES_PER_ELEMENT;
    if (this.start + to > this.bytes.length) throw new InputError(`${this.name}: the file is cut off`);
    return { data: new Type(this.bytes.buffer, at, count), shape: entry.shape };
  }
}
