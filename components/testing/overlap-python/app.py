"""Several inferences under way in one instance, in Python."""

import asyncio

import eyot


@eyot.handler(inputs=["x: FP32[-1, 16]"], outputs=["y: FP32[-1, 16]"])
async def mean(x):
    """The mean of what two models say, who are asked at once."""
    one, other = eyot.Model.open("one"), eyot.Model.open("other")
    first, second = await asyncio.gather(one.infer_async([x]), other.infer_async([x]))
    return {"y": [(a + b) / 2 for a, b in zip(first["y"].values(), second["y"].values())]}


@eyot.function
async def each(rows: list[int], width: int) -> list[int]:
    """How many rows there are in the answer to each of several questions, which are asked at once."""
    model = eyot.Model.open("one")
    inputs = [eyot.Tensor.of("x", "FP32", [count, width], [0.5] * (count * width)) for count in rows]
    answers = await asyncio.gather(*(model.infer_async([x]) for x in inputs))
    return [answer["y"].shape[0] for answer in answers]
