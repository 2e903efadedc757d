"""The error type and its translations."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from core import errors
from core.models import User


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.Invalid, 400), (errors.Unauthenticated, 401), (errors.Forbidden, 403), (errors.NotFound, 404),
        (errors.Conflict, 409), (errors.Stale, 412), (errors.Misuse, 422), (errors.RateLimited, 429),
    ],
)  # fmt: skip
def test_statuses(kind: type[errors.BillingError], status: int) -> None:
    error = kind("some_code", "A sentence.", extra={"amount": "1.00"})
    assert (error.status, error.code, error.message, str(error)) == (
        status,
        "some_code",
        "A sentence.",
        "A sentence.",
    )
    assert error.extra == {"amount": "1.00"}
    assert error.errors == []


def test_from_validation_error_of_fields() -> None:
    source = ValidationError(
        {
            "name": [ValidationError("Too long.", code="max_length")],
            "__all__": [ValidationError("No.", code="no")],
        }
    )
    error = errors.from_validation_error(source, prefix="/lines/3")
    assert error.code == "invalid"
    assert error.errors == [
        errors.FieldProblem("/lines/3/name", "max_length", "Too long."),
        errors.FieldProblem("/lines/3", "no", "No."),
    ]
    assert error.message == "2 values need correction: Too long. No."


def test_from_validation_error_of_one_sentence() -> None:
    error = errors.from_validation_error(ValidationError("At most %(n)s.", code="most", params={"n": 3}))
    assert error.errors == [errors.FieldProblem("", "most", "At most 3.")]
    assert error.message == "At most 3."


@pytest.mark.django_db
def test_constraint_name_names_the_constraint() -> None:
    User.objects.create_user("anna", "anna@example.com")
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        User.objects.create_user("ben", "ANNA@example.com")
    assert errors.constraint_name(refused.value) == "users_email_unique"
    assert errors.constraint_name(IntegrityError("no cause")) is None
