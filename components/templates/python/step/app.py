import csv
import io
from dataclasses import dataclass

import eyot


@dataclass
class Cleaned:
    rows: eyot.Artifact
    dropped: int


def complete(text: str) -> tuple[list[list[str]], int]:
    """The rows without an empty cell, header first, and how many had one."""
    rows = list(csv.reader(io.StringIO(text)))
    kept = [row for row in rows if all(cell.strip() for cell in row)]
    return kept, len(rows) - len(kept)


@eyot.function
def clean(file: eyot.Artifact) -> Cleaned:
    """Drops rows with missing cells."""
    kept, dropped = complete(file.text())
    eyot.log_metric("dropped", dropped)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(kept)
    return Cleaned(eyot.Artifact.write("text/csv", text.getvalue()), dropped)
