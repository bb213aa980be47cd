import assert from "node:assert/strict";
import { test } from "node:test";
import { Tensor } from "eyot";
import app from "./app.js";

test("standardises", async () => {
  const { y } = await app.predict({ x: Tensor.of("x", "FP32", [2], [1, 3]) });
  assert.deepEqual(Array.from(y), [-1, 1]);
});

test("refuses nothing", () => {
  assert.throws(() => app.predict({ x: Tensor.of("x", "FP32", [0], []) }), /x has no element/);
});
