from dataclasses import dataclass

import eyot


@dataclass
class Summary:
    count: int
    mean: float
    deviation: float


@eyot.function
def summarize(values: list[float]) -> Summary:
    """The mean of values, and how far they lie from it."""
    if not values:
        raise eyot.InvalidInput("there are no values")
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return Summary(len(values), mean, deviation)
