/** The mean of a list of numbers. */
function mean(values: unknown): number {
  if (!Array.isArray(values) || values.length === 0) throw new TypeError("values is no list of numbers");
  const numbers = values.filter((value): value is number => typeof value === "number");
  if (numbers.length < values.length) throw new TypeError("values is no list of numbers");
  return numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
}

export default {
  async fetch(request: Request): Promise<Response> {
    if (request.method !== "POST") {
      return new Response('POST {"values": [1, 2, 3]} and get their mean\n');
    }
    try {
      const { values } = (await request.json()) as { values?: unknown };
      return Response.json({ mean: mean(values) });
    } catch (error) {
      return new Response(`${(error as Error).message}\n`, { status: 400 });
    }
  },
};
