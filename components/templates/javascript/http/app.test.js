import assert from "node:assert/strict";
import { test } from "node:test";
import app from "./app.js";

const post = (body) => app.fetch(new Request("http://localhost/", { method: "POST", body: JSON.stringify(body) }));

test("the mean of numbers", async () => {
  assert.deepEqual(await (await post({ values: [1, 2, 6] })).json(), { mean: 3 });
});

test("what is no list is refused", async () => {
  assert.equal((await post({ values: "many" })).status, 400);
});
