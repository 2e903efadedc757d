"""Encrypted fields and their keys (SEC-03)."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, models, transaction
from django.test import override_settings

from core import crypto
from core.crypto import CannotDecrypt, EncryptedJSONField, EncryptedTextField, blind_index

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture
def sealed(db: None) -> Iterator[type[models.Model]]:
    """A model with encrypted fields and its table, known to Django while the test runs."""

    class SealedNote(models.Model):
        text = EncryptedTextField(null=True, blank=True)
        data = EncryptedJSONField(null=True)

        class Meta:
            app_label = "core"

    with connection.schema_editor() as editor:
        editor.create_model(SealedNote)
    yield SealedNote
    del apps.all_models["core"]["sealednote"]
    apps.clear_cache()


def stored(model: Any, pk: int) -> tuple[str | None, str | None]:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT text, data FROM "{model._meta.db_table}" WHERE id = %s', [pk])
        return tuple(cursor.fetchone())


def test_values_are_encrypted_in_the_database_and_plain_in_python(sealed: Any) -> None:
    value = {"token": "s3cret", "scopes": ["a"], "n": 0}
    note = sealed.objects.create(text="DE89 3704 0044", data=value)
    text, data = stored(sealed, note.pk)
    assert text is not None
    assert data is not None
    assert "DE89" not in text
    assert "s3cret" not in data
    read = sealed.objects.get()
    assert (read.text, read.data) == ("DE89 3704 0044", value)
    assert crypto.decrypt(text) == "DE89 3704 0044"


@pytest.mark.parametrize("value", [0, False, "", [], {}, "text", None])
def test_json_values_come_back_as_they_went(sealed: Any, value: Any) -> None:
    sealed.objects.create(data=value)
    read = sealed.objects.get().data
    assert read == value
    assert type(read) is type(value)


def test_empty_and_null_text_stay_what_they_are(sealed: Any) -> None:
    sealed.objects.create(text="")
    sealed.objects.create(text=None)
    assert list(sealed.objects.order_by("id").values_list("text", flat=True)) == ["", None]
    assert sealed.objects.filter(text__isnull=True).count() == 1


def test_a_search_is_refused_rather_than_finding_nothing(sealed: Any) -> None:
    with pytest.raises(FieldError):
        list(sealed.objects.filter(text="x"))
    with pytest.raises(FieldError):
        list(sealed.objects.filter(data__contains="x"))


def test_bulk_writes_are_encrypted_once(sealed: Any) -> None:
    note = sealed.objects.bulk_create([sealed(text="a", data=[1])])[0]
    assert sealed.objects.get().text == "a"
    note.text, note.data = "b", [2]
    sealed.objects.bulk_update([note], ["text", "data"])
    read = sealed.objects.get()
    assert (read.text, read.data) == ("b", [2])
    sealed.objects.update(text="c")
    assert sealed.objects.get().text == "c"
    text, _ = stored(sealed, note.pk)
    assert text is not None
    assert crypto.decrypt(text) == "c"


def test_a_failed_validation_leaks_no_ciphertext(sealed: Any) -> None:
    note = sealed(text="plain", data={"a": 1})
    note.full_clean()
    assert (note.text, note.data) == ("plain", {"a": 1})


def test_a_wrong_key_is_loud(sealed: Any) -> None:
    with override_settings(FIELD_ENCRYPTION_KEYS=[OLD]):
        sealed.objects.create(text="secret")
    with (
        override_settings(FIELD_ENCRYPTION_KEYS=[OTHER]),
        pytest.raises(CannotDecrypt, match="Put back the key"),
    ):
        sealed.objects.get()


def test_without_keys_nothing_is_stored(sealed: Any) -> None:
    nothing = override_settings(FIELD_ENCRYPTION_KEYS=[])
    with nothing, pytest.raises(ImproperlyConfigured), transaction.atomic():
        sealed.objects.create(text="secret")
    assert sealed.objects.count() == 0


def test_rotation_re_encrypts_every_value_and_the_old_key_may_go(sealed: Any) -> None:
    with override_settings(FIELD_ENCRYPTION_KEYS=[OLD]):
        for number in range(5):
            sealed.objects.create(text=f"secret {number}", data={"n": number})
        sealed.objects.create(text="", data=None)
        sealed.objects.create(text=None, data=None)
    out = StringIO()
    with override_settings(FIELD_ENCRYPTION_KEYS=[NEW, OLD]):
        call_command("rotate_field_keys", batch_size=2, stdout=out)
        assert "core.SealedNote.text: 5 re-encrypted" in out.getvalue()
        assert "core.SealedNote.data: 5 re-encrypted" in out.getvalue()
        again = StringIO()
        call_command("rotate_field_keys", batch_size=2, stdout=again)
        assert "core.SealedNote.text: 0 re-encrypted" in again.getvalue()
    with override_settings(FIELD_ENCRYPTION_KEYS=[NEW]):
        assert list(sealed.objects.order_by("id").values_list("text", "data")) == [
            *((f"secret {number}", {"n": number}) for number in range(5)),
            ("", None),
            (None, None),
        ]


def test_rotation_stops_loudly_at_a_value_nobody_can_open(sealed: Any) -> None:
    with override_settings(FIELD_ENCRYPTION_KEYS=[OTHER]):
        note = sealed.objects.create(text="secret")
        before = stored(sealed, note.pk)
    with (
        override_settings(FIELD_ENCRYPTION_KEYS=[NEW, OLD]),
        pytest.raises(CommandError, match=r"SealedNote\.text"),
    ):
        call_command("rotate_field_keys", stdout=StringIO())
    assert stored(sealed, note.pk) == before


@override_settings(BLIND_INDEX_KEY="a key")
def test_blind_index_is_keyed_and_blind_to_spelling() -> None:
    digest = blind_index("DE89 3704 0044")
    assert digest == blind_index("de8937040044")
    assert len(digest) == 64
    assert digest != blind_index("DE89370400441")
    with override_settings(BLIND_INDEX_KEY="another key"):
        assert blind_index("DE8937040044") != digest
