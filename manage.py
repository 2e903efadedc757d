#!/usr/bin/env python3
"""Django's command line: `.venv/bin/python manage.py <command>`; development settings unless told otherwise."""

import os
import sys


def main() -> None:
    """Run the command named on the command line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings.development")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as problem:
        sys.exit(f"{problem}. Start with `make run` once, then use .venv/bin/python manage.py …")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
