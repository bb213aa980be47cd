import eyot
from tokens import tokens
from vocabulary import LABELS, VOCABULARY

COLUMNS = {token: column for column, token in enumerate(VOCABULARY)}


def counts(text: str) -> list[float]:
    """How often each token of the vocabulary stands in a text."""
    row = [0.0] * len(VOCABULARY)
    for token in tokens(text):
        if token in COLUMNS:
            row[COLUMNS[token]] += 1.0
    return row


@eyot.handler(inputs=["text: BYTES[-1]"], outputs=["label: BYTES[-1]", "probabilities: FP32[-1, 3]"])
def classify(text):
    """Sorts tickets: what each is about, and how sure that is."""
    texts = text.texts()
    if not texts:
        raise eyot.InvalidInput("there is no text")
    rows = [value for one in texts for value in counts(one)]
    features = eyot.Tensor.of("counts", "FP32", [len(texts), len(VOCABULARY)], rows)
    probabilities = eyot.Model.open("tickets").infer([features])["probabilities"]
    values, width = probabilities.values(), len(LABELS)
    of_row = lambda row: max(range(width), key=lambda column: values[row * width + column])
    labels = [LABELS[of_row(row)] for row in range(len(texts))]
    return {"label": labels, "probabilities": eyot.Tensor("probabilities", "FP32", probabilities.shape, probabilities.data)}
