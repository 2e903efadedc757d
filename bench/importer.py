"""Import one file, in a process of its own so that its memory can be told: path, entity, user."""

import json
import logging
import sys
import time
from pathlib import Path


def main() -> None:
    """Import the file that the command line names, and print what it took."""
    import django

    django.setup()
    logging.disable(logging.WARNING)

    from bench.usage import peak_memory
    from core.models import User
    from entities.models import Entity
    from invoicing.services.usage_imports import usage_file_import

    path, entity_id, user_id = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    actor, entity = User.objects.get(pk=user_id), Entity.objects.get(pk=entity_id)
    before = peak_memory()
    started = time.perf_counter()
    with path.open("rb") as file:
        done = usage_file_import(actor=actor, entity=entity, file=file, file_name=path.name)
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "rows": done.usage_import.rows_imported,
                "message": done.message,
                "seconds": seconds,
                "before": before,
                "peak": peak_memory(),
            }
        )
    )


if __name__ == "__main__":
    main()
