import eyot


@eyot.handler(inputs=["x: FP32[-1]"], outputs=["y: FP32[-1]"])
def predict(x):
    """Standardises a column: mean 0, standard deviation 1."""
    values = x.values()
    if len(values) == 0:
        raise eyot.InvalidInput("x has no element")
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return {"y": [(value - mean) / (deviation or 1.0) for value in values]}
