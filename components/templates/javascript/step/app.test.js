import assert from "node:assert/strict";
import { test } from "node:test";
import { Artifact } from "eyot";
import { clean } from "./app.js";

test("rows with missing cells are dropped", () => {
  const { rows, dropped } = clean(Artifact.write("text/csv", "a,b\n1,2\n3,\n"));
  assert.deepEqual([rows.text(), dropped], ["a,b\n1,2\n", 1]);
});
