// Artifacts outside of a component, in memory, so that steps can be tested as plain functions.

import { createHash } from "node:crypto";

class Artifact {
  constructor(type, bytes) {
    Object.assign(this, { type, all: bytes });
  }

  digest() {
    return `sha256:${createHash("sha256").update(this.all).digest("hex")}`;
  }

  mediaType() {
    return this.type;
  }

  size() {
    return BigInt(this.all.byteLength);
  }

  read(offset, length) {
    return this.all.subarray(Number(offset), Number(offset + length));
  }
}

export class Writer {
  constructor(type) {
    Object.assign(this, { type, parts: [] });
  }

  write(bytes) {
    this.parts.push(bytes);
  }

  static finish({ type, parts }) {
    return new Artifact(type, new Uint8Array(Buffer.concat(parts)));
  }
}
