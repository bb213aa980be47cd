/** Whole numbers of WIT. Where only `number` is said, it is an f64; a `bigint` is an s64. */
export type u8 = number;
export type u16 = number;
export type u32 = number;
export type s8 = number;
export type s16 = number;
export type s32 = number;
export type u64 = bigint;
export type s64 = bigint;
/** Floating point of WIT. */
export type f32 = number;
export type f64 = number;
/** One Unicode character. */
export type char = string;

/** The name of a datatype in the Open Inference Protocol. */
export type Datatype =
  | "BOOL" | "UINT8" | "UINT16" | "UINT32" | "UINT64" | "INT8" | "INT16" | "INT32" | "INT64"
  | "FP16" | "BF16" | "FP32" | "FP64" | "BYTES";

/** The caller's data do not fit: over HTTP a 400 with this text. */
export class InvalidInput extends Error {}

/** What `Tensor.data` is for each datatype. */
export type TensorData =
  | Uint8Array | Uint16Array | Uint32Array | BigUint64Array | Int8Array | Int16Array | Int32Array
  | BigInt64Array | Float32Array | Float64Array | string[];

/** A named tensor: dense, row-major, little-endian bytes. */
export class Tensor {
  readonly name: string;
  readonly dtype: Datatype;
  readonly shape: number[];
  /** The elements as they travel. */
  readonly bytes: Uint8Array;
  constructor(name: string, dtype: Datatype, shape: number[], bytes: Uint8Array);
  /** A tensor of numbers, of bigints for 64-bit integers, of booleans, or for BYTES of texts or bytes. */
  static of(name: string, dtype: Datatype, shape: number[], values: Iterable<unknown>): Tensor;
  /**
   * The elements: a typed array over the bytes without a copy, for FP16 and BF16 a Float32Array of
   * them, for BYTES an array of texts.
   */
  get data(): TensorData;
}

/** A content-addressed file that a step was handed, or has written. */
export class Artifact {
  private constructor();
  /** `sha256:` and 64 hexadecimal digits. */
  get digest(): string;
  /** The media type given when it was written. */
  get mediaType(): string;
  /** Its length in bytes. */
  get size(): number;
  /** Its bytes piece by piece, so that memory stays small. */
  chunks(length?: number): Generator<Uint8Array>;
  /** All of its bytes. */
  bytes(): Uint8Array;
  /** All of it as text. */
  text(): string;
  /** Writes bytes or text as a new artifact. */
  static write(mediaType: string, content: Uint8Array | string): Artifact;
}

/** Writes an artifact piece by piece. Without `finish` it never existed. */
export class Writer {
  constructor(mediaType: string);
  /** Appends bytes or text. */
  write(chunk: Uint8Array | string): void;
  /** Ends the artifact and makes it durable. */
  finish(): Artifact;
}

/** A model that the host runs. */
export class Model {
  private constructor();
  /** A model that the deployment grants under `name`. */
  static open(name: string): Model;
  /** A model that is an artifact of the running pipeline: the bytes of an ONNX file. */
  static load(weights: Artifact): Model;
  /** Runs it once. Inputs are matched by name; answers all outputs by name, in the model's order. */
  infer(inputs: Tensor[]): Record<string, Tensor>;
}

/** What a handler gives for an output: a tensor, or values that are shaped as the signature says. */
export type Output = Tensor | Exclude<TensorData, string[]> | ArrayLike<number | bigint | boolean | string>;

/** What `handler` gives; an app exports it as its default. */
export interface Handler {
  predict(inputs: Record<string, Tensor>): Record<string, Output> | Promise<Record<string, Output>>;
}

/**
 * A handler: its signature as texts such as `"x: FP32[-1, 4]"`, and a function that takes the input
 * tensors by name and gives the outputs by name.
 */
export function handler(
  signature: { inputs: string[]; outputs: string[] },
  predict: (inputs: Record<string, Tensor>) => Record<string, Output> | Promise<Record<string, Output>>,
): Handler;

/** Records one point of a metric; `step` counts whatever you count, such as epochs. */
export function logMetric(key: string, value: number | bigint, step?: number): void;
/** Records a parameter; its first value stays. */
export function logParam(key: string, value: unknown): void;
/** Sets a tag, replacing an earlier value. */
export function setTag(key: string, value: unknown): void;
