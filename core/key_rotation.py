"""Re-encryption of stored values after a new key was put in front (SEC-03)."""

from django.db import models, transaction
from django.db.models import TextField, Value
from django.db.models.functions import Cast

from core.crypto import EncryptedTextField, rotate


def field_rotate(model: type[models.Model], field: EncryptedTextField, *, batch_size: int = 500) -> int:
    """Re-encrypt one column in batches, and return how many values changed.

    Rows are locked batch by batch, so nobody's concurrent change is overwritten. It writes no history: the
    values stay the same.
    """
    rows = (
        model._base_manager.annotate(_token=Cast(field.name, TextField())).exclude(_token="").order_by("pk")
    )
    rows = rows.filter(_token__isnull=False)
    changed, last = 0, None
    while True:
        with transaction.atomic():
            later = rows if last is None else rows.filter(pk__gt=last)
            batch = list(later.select_for_update(of=("self",)).values_list("pk", "_token")[:batch_size])
            for pk, token in batch:
                fresh = rotate(token)
                if fresh != token:
                    stored = Value(fresh, output_field=TextField())
                    changed += model._base_manager.filter(pk=pk).update(**{field.name: stored})
        if len(batch) < batch_size:
            return changed
        last = batch[-1][0]
