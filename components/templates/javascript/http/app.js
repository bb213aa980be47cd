import { mean } from "./mean.js";

export default {
  /** @param {Request} request */
  async fetch(request) {
    if (request.method !== "POST") {
      return new Response('POST {"values": [1, 2, 3]} and get their mean\n');
    }
    try {
      const { values } = await request.json();
      return Response.json({ mean: mean(values) });
    } catch (error) {
      return new Response(`${error.message}\n`, { status: 400 });
    }
  },
};
