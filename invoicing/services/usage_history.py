"""History for changes that were made set by set (architecture, rule 8)."""

from collections.abc import Sequence

from django.db import connection, models

from core import clock
from core.history import current


def write_history(model: type[models.Model], keys: Sequence[int]) -> None:
    """Write down the present state of rows that `update()` has changed, with who, why and in which request."""
    if not keys:
        return
    history = model.history.model  # type: ignore[attr-defined]  # every model with AuditedHistory has it
    own = {field.column for field in model._meta.concrete_fields}
    columns = [field.column for field in history._meta.concrete_fields if field.column in own]
    context = current()
    quoted = ", ".join(connection.ops.quote_name(column) for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {history._meta.db_table} ({quoted}, history_date, history_type, history_change_reason, "
            f"history_user_id, request_id, channel) SELECT {quoted}, %s, '~', %s, %s, %s, %s "
            f"FROM {model._meta.db_table} WHERE id = ANY(%s)",
            [
                clock.now(),
                context.reason,
                context.actor.pk if context.actor else None,
                context.request_id,
                context.channel,
                list(keys),
            ],
        )
