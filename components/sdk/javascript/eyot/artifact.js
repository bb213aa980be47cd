import * as artifacts from "#artifacts";
import { host } from "./errors.js";

/** How much is read at once: pieces of a long file stay small, and a short one is one call. */
const CHUNK = 1 << 20;

/** A content-addressed file that a step was handed, or has written. */
export class Artifact {
  /** `inner` is the host's handle; apps get artifacts from their arguments and from `Artifact.write`. */
  constructor(inner) {
    this.inner = inner;
  }

  /** `sha256:` and 64 hexadecimal digits. */
  get digest() {
    return this.inner.digest();
  }

  /** The media type given when it was written. */
  get mediaType() {
    return this.inner.mediaType();
  }

  /** Its length in bytes. */
  get size() {
    return Number(this.inner.size());
  }

  /** Its bytes piece by piece, so that memory stays small. */
  *chunks(length = CHUNK) {
    for (let offset = 0n; ; ) {
      const chunk = host(() => this.inner.read(offset, BigInt(length)));
      if (chunk.byteLength === 0) return;
      yield chunk;
      offset += BigInt(chunk.byteLength);
    }
  }

  /** All of its bytes. */
  bytes() {
    const whole = new Uint8Array(this.size);
    let offset = 0;
    for (const chunk of this.chunks()) {
      whole.set(chunk, offset);
      offset += chunk.byteLength;
    }
    return whole;
  }

  /** All of it as text. */
  text() {
    return new TextDecoder().decode(this.bytes());
  }

  /** Writes bytes or text as a new artifact. */
  static write(mediaType, content) {
    const writer = new Writer(mediaType);
    writer.write(content);
    return writer.finish();
  }
}

/** Writes an artifact piece by piece. Without `finish` it never existed. */
export class Writer {
  constructor(mediaType) {
    this.inner = new artifacts.Writer(mediaType);
  }

  /** Appends bytes or text. */
  write(chunk) {
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
    host(() => this.inner.write(bytes));
  }

  /** Ends the artifact and makes it durable. */
  finish() {
    return new Artifact(host(() => artifacts.Writer.finish(this.inner)));
  }
}
