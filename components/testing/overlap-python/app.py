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
async def quickest(rows: int, others: int) -> int:
    """How many answers there are when the first has come; those behind it are given up."""
    model = eyot.Model.open("one")

    def ask(rows):
        x = eyot.Tensor.of("x", "FP32", [rows, 16], [0.5] * (rows * 16))
        return asyncio.ensure_future(model.infer_async([x]))

    tasks = [ask(rows)] + [ask(1) for _ in range(others)]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return len(done)
