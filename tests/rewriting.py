"""A finished run's record with other content."""

import json

from ltaug.files import sealed, write_json
from ltaug.runs import RUN_FILE


def rewrite(run, **changed):
    """Change parts of run.json, sealed as if it had been written so; None takes a key away."""
    record = json.loads((run / RUN_FILE).read_text()) | changed
    write_json(run / RUN_FILE, sealed({key: value for key, value in record.items() if value is not None}))
    return run
