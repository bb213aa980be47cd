import assert from "node:assert/strict";
import { test } from "node:test";
import { cyclic, kilometres, oneHot, scaled } from "./features.js";

test("a degree of latitude is 111 km", () => {
  const trip = { from_lat: "59", from_lon: "10", to_lat: "60", to_lon: "10" };
  assert.equal(Math.round(kilometres(trip) * 10) / 10, 111.2);
});

test("midnight is near midnight", () => {
  const { hour_sin, hour_cos } = cyclic("hour", [23.99, 0.01], 24);
  assert.ok(Math.hypot(hour_sin[0] - hour_sin[1], hour_cos[0] - hour_cos[1]) < 0.01);
});

test("columns are standardised and kinds are told apart", () => {
  assert.deepEqual(scaled([1, 3]), { values: [-1, 1], mean: 2, deviation: 1 });
  assert.deepEqual(oneHot("kind", ["b", "a"]), { kind_a: [0, 1], kind_b: [1, 0] });
});
