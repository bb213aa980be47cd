import eyot


def mean(values) -> float:
    """The mean of a list of numbers."""
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not numbers or not values:
        raise eyot.InvalidInput("values is no list of numbers")
    return sum(values) / len(values)


@eyot.http
def answer(request: eyot.Request) -> eyot.Response:
    if request.method != "POST":
        return eyot.Response('POST {"values": [1, 2, 3]} and get their mean\n')
    body = request.json()
    return eyot.Response.json({"mean": mean(body.get("values") if isinstance(body, dict) else None)})
