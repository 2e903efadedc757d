"""Re-encrypt every encrypted field with the first key of FIELD_ENCRYPTION_KEYS."""

from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import models

from core.crypto import CannotDecrypt, EncryptedTextField
from core.key_rotation import field_rotate


class Command(BaseCommand):
    help = (
        "Re-encrypt every encrypted field with the first key of FIELD_ENCRYPTION_KEYS. When it has ended, the "
        "older keys may be removed. It can be stopped and run again; people can go on working meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--batch-size", type=int, default=500, help="rows per transaction (default 500)")

    def handle(self, *args: Any, **options: Any) -> None:
        rotated = 0
        for model in apps.get_models(include_auto_created=True):
            for field in _encrypted_fields(model):
                try:
                    count = field_rotate(model, field, batch_size=options["batch_size"])
                except CannotDecrypt as error:
                    raise CommandError(f"{model._meta.label}.{field.name}: {error}") from error
                self.stdout.write(f"{model._meta.label}.{field.name}: {count} re-encrypted")
                rotated += count
        self.stdout.write(f"{rotated} values re-encrypted with the first key.")


def _encrypted_fields(model: type[models.Model]) -> list[EncryptedTextField]:
    """The model's own encrypted fields; history tables are models too, and proxies share their table."""
    if model._meta.proxy or not model._meta.managed:
        return []
    return [field for field in model._meta.local_concrete_fields if isinstance(field, EncryptedTextField)]
