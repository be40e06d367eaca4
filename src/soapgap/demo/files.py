"""Files that are whole or absent."""

import os
import tempfile
from pathlib import Path


def write_text(path, text):
    """Write ``text`` under a temporary name beside ``path`` and move it there, so that no half-written file is left."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
