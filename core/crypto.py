"""Encrypted fields with rotatable keys (SEC-03), on cryptography's MultiFernet.

`settings.FIELD_ENCRYPTION_KEYS` is a list of Fernet keys: the first encrypts, all decrypt. To rotate, put a new key
in front, run the command `rotate_field_keys`, then remove the old one. The keys are not derived from SECRET_KEY.
An encrypted column cannot be searched; store `blind_index(value)` beside it for exact matches.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django import forms
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.core.signals import setting_changed
from django.db import models


@lru_cache(maxsize=1)
def _boxes() -> tuple[Fernet, MultiFernet]:
    keys: Sequence[str] = settings.FIELD_ENCRYPTION_KEYS
    if not keys:
        raise ImproperlyConfigured("FIELD_ENCRYPTION_KEYS is empty. Give at least one Fernet key.")
    fernets = [Fernet(key) for key in keys]
    return fernets[0], MultiFernet(fernets)


def _forget_keys(*, setting: str, **kwargs: Any) -> None:
    if setting == "FIELD_ENCRYPTION_KEYS":
        _boxes.cache_clear()


setting_changed.connect(_forget_keys, dispatch_uid="core.crypto.forget_keys")


class CannotDecrypt(Exception):
    """No configured key opens a stored value. Never swallowed: silence would look like an empty field."""


def encrypt(text: str) -> str:
    """Encrypt with the first key."""
    return _boxes()[1].encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Decrypt with whichever key fits; none raises CannotDecrypt."""
    try:
        return _boxes()[1].decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise CannotDecrypt(
            "A stored value cannot be decrypted with any key of FIELD_ENCRYPTION_KEYS. "
            "Put back the key it was encrypted with, then run rotate_field_keys."
        ) from error


def rotate(token: str) -> str:
    """Return the value encrypted with the first key; a token that already is, is returned unchanged."""
    try:
        _boxes()[0].decrypt(token.encode())
    except InvalidToken:
        return encrypt(decrypt(token))
    return token


def blind_index(value: str) -> str:
    """Return a keyed digest for exact search, blind to spaces and capitals ("de89 3704" equals "DE893704")."""
    normal = "".join(value.split()).upper()
    return hmac.new(settings.BLIND_INDEX_KEY.encode(), normal.encode(), hashlib.sha256).hexdigest()


class EncryptedTextField(models.TextField):
    """Text that the database holds encrypted. Lookups other than `isnull` raise FieldError."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value if value is None or value == "" else encrypt(str(value))

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        return value if value is None or value == "" else decrypt(value)

    def get_lookup(self, lookup_name: str) -> Any:
        """Refuse searches: every encryption of the same text differs, so they would silently find nothing."""
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None


class EncryptedJSONField(EncryptedTextField):
    """A JSON value that the database holds encrypted."""

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else encrypt(json.dumps(value, cls=DjangoJSONEncoder))

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        return None if value is None else json.loads(decrypt(value))

    def to_python(self, value: Any) -> Any:
        """Leave the value as it is: TextField would turn it into text."""
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj), cls=DjangoJSONEncoder)

    def formfield(self, **kwargs: Any) -> Any:
        return models.Field.formfield(self, **{"form_class": forms.JSONField, **kwargs})
