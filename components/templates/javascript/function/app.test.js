import assert from "node:assert/strict";
import { test } from "node:test";
import { summarize } from "./app.js";

test("mean and deviation", () => {
  assert.deepEqual(summarize(Float64Array.of(1, 3)), { count: 2, mean: 2, deviation: 1 });
  assert.throws(() => summarize(new Float64Array()), /there are no values/);
});
