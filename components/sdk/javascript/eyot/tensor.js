// Dense, row-major, little-endian tensors over the bytes that travel.

const ARRAYS = {
  BOOL: Uint8Array, UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array, FP32: Float32Array,
  FP64: Float64Array,
};
/** Types that JavaScript has no numbers for: bytes to an array, and back. */
const CODED = {
  FP16: [(bytes) => Float32Array.from(view(Uint16Array, bytes), fromHalf), (values) => Uint16Array.from(values, toHalf)],
  BF16: [(bytes) => Float32Array.from(view(Uint16Array, bytes), fromBrain), (values) => Uint16Array.from(values, toBrain)],
  BYTES: [texts, lengthPrefixed],
};

/** A named tensor. */
export class Tensor {
  /** `bytes` are the elements as they travel; `Tensor.of` makes them of values. */
  constructor(name, dtype, shape, bytes) {
    if (!(dtype in ARRAYS) && !(dtype in CODED)) {
      throw new TypeError(`'${dtype}' is no datatype; datatypes are ${[...Object.keys(ARRAYS), ...Object.keys(CODED)].join(", ")}`);
    }
    Object.assign(this, { name, dtype, shape, bytes });
  }

  /** A tensor of numbers, of bigints for 64-bit integers, of booleans, or for BYTES of texts or bytes. */
  static of(name, dtype, shape, values) {
    return new Tensor(name, dtype, shape, encode(dtype, values));
  }

  /**
   * The elements: a typed array over the bytes without a copy, for FP16 and BF16 a Float32Array of
   * them, for BYTES an array of texts.
   */
  get data() {
    const coded = CODED[this.dtype];
    return coded ? coded[0](this.bytes) : view(ARRAYS[this.dtype], this.bytes);
  }

  static fromWit({ name, dtype, shape, data }) {
    return new Tensor(name, dtype === "boolean" ? "BOOL" : dtype.toUpperCase(), Array.from(shape, Number), data);
  }

  toWit() {
    const dtype = this.dtype === "BOOL" ? "boolean" : this.dtype.toLowerCase();
    return { name: this.name, dtype, shape: BigUint64Array.from(this.shape, BigInt), data: this.bytes };
  }
}

/** What a handler gave for an output: a tensor as it is, values as the signature says. */
export function output({ name, dtype, shape }, answer) {
  const value = answer?.[name];
  if (value === undefined) throw new Error(`the handler gave no output '${name}'`);
  if (value instanceof Tensor) return value;
  if (shape.filter((dim) => dim < 0).length > 1) {
    throw new Error(`output '${name}' has several variable dimensions: give a Tensor`);
  }
  const known = shape.filter((dim) => dim >= 0).reduce((product, dim) => product * dim, 1);
  const free = Math.floor(value.length / Math.max(known, 1));
  return Tensor.of(name, dtype, shape.map((dim) => (dim < 0 ? free : dim)), value);
}

/** `"x: FP32[-1, 4]"` as what it says. */
export function spec(text) {
  const [, name, dtype, dims] = /^\s*([^:]+?)\s*:\s*(\w+)\s*\[([-\d,\s]*)\]\s*$/.exec(text) ?? [];
  if (!(dtype in ARRAYS) && !(dtype in CODED)) {
    throw new TypeError(`'${text}' is no tensor; write "name: FP32[-1, 4]"`);
  }
  return { name, dtype, shape: dims.split(",").filter((dim) => dim.trim() !== "").map(Number) };
}

function encode(dtype, values) {
  const coded = CODED[dtype];
  const elements = coded ? coded[1](values) : array(ARRAYS[dtype], values);
  return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
}

function array(kind, values) {
  if (values instanceof kind) return values;
  return kind.BYTES_PER_ELEMENT === 8 && kind !== Float64Array ? kind.from(values, BigInt) : kind.from(values);
}

/** Elements over bytes; a copy only where they do not lie as the processor wants them. */
function view(kind, bytes) {
  const size = kind.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new kind(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / size));
}

function texts(bytes) {
  const [elements, lengths, decoder] = [[], new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), new TextDecoder()];
  for (let offset = 0; offset < bytes.byteLength; ) {
    const length = lengths.getUint32(offset, true);
    elements.push(decoder.decode(bytes.subarray(offset + 4, offset + 4 + length)));
    offset += 4 + length;
  }
  return elements;
}

function lengthPrefixed(values) {
  const encoder = new TextEncoder();
  const parts = Array.from(values, (value) => (typeof value === "string" ? encoder.encode(value) : value));
  const bytes = new Uint8Array(parts.reduce((total, part) => total + 4 + part.byteLength, 0));
  const lengths = new DataView(bytes.buffer);
  let offset = 0;
  for (const part of parts) {
    lengths.setUint32(offset, part.byteLength, true);
    bytes.set(part, offset + 4);
    offset += 4 + part.byteLength;
  }
  return bytes;
}

const [float, bits] = (() => {
  const float = new Float32Array(1);
  return [float, new Uint32Array(float.buffer)];
})();

function bitsOf(value) {
  float[0] = value;
  return bits[0];
}

function floatOf(pattern) {
  bits[0] = pattern;
  return float[0];
}

function fromBrain(half) {
  return floatOf((half << 16) >>> 0);
}

/** The upper half of an FP32, rounded to the nearest, ties to even. */
function toBrain(value) {
  const pattern = bitsOf(value);
  if (Number.isNaN(float[0])) return (pattern >>> 16) | 0x40;
  return Math.floor((pattern + 0x7fff + ((pattern >>> 16) & 1)) / 65536);
}

function fromHalf(half) {
  const [sign, exponent, fraction] = [half & 0x8000 ? -1 : 1, (half >> 10) & 0x1f, half & 0x3ff];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Rounded to the nearest, ties to even. */
function toHalf(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  if (size < 2 ** -25 || size === 0) return sign;
  const scaled = size / 2 ** (exponent - 10);
  const below = Math.floor(scaled);
  const [rest, odd] = [scaled - below, below % 2];
  const rounded = below + (rest > 0.5 || (rest === 0.5 && odd) ? 1 : 0);
  // A fraction that rounds up to the next power of two carries into the exponent by itself.
  return sign | (rounded >= 1024 ? ((exponent + 15) << 10) + (rounded - 1024) : rounded);
}
