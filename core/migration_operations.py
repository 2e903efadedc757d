"""Migrations in a fraction of the time: operations that follow each other share one rendering of the models.

After each operation Django makes the class of the model, and of every model that is related to it however remotely,
anew. In this product nearly all models hang together, so that a hundred operations make ten thousand classes, which
takes minutes when a database is made. The statements for the database are the same, in the same order.

    operations = at_once([migrations.CreateModel(…), migrations.AddField(…), …])
"""

from collections.abc import Iterable
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import (
    AddConstraint,
    AddField,
    AddIndex,
    AlterField,
    AlterModelOptions,
    CreateModel,
    RemoveConstraint,
    RemoveIndex,
)
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState


class AtOnce(Operation):
    """Operations of which none needs to see the models as another one of them left them."""

    category = OperationCategory.MIXED
    serialization_expand_args = ["operations"]

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = list(operations)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:  # type: ignore[override]
        return self.__class__.__qualname__, [], {"operations": self.operations}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        # As long as no class of the state is made, the operations make none; whoever asks next makes each once.
        vars(state).pop("apps", None)
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        for operation in self.operations:
            operation.database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        for operation in reversed(self.operations):
            # Taking a constraint away, Django looks its fields up in the models before; the group may have added them.
            before = from_state if isinstance(operation, AddConstraint) else to_state
            operation.database_backwards(app_label, schema_editor, from_state, before)

    def describe(self) -> str:
        return "; ".join(operation.describe() for operation in self.operations)


def at_once(operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations in their order, those that may share a rendering as one.

    Each runs between the models before its group and those after it. So what touches a model that the group makes,
    or a part of a model that the group touched, begins the next group; SQL, Python and what takes fields or models
    away or renames them stand alone.
    """
    groups: list[list[Operation]] = []
    touched: set[tuple[str, str]] = set()
    for operation in operations:
        part = _part(operation)
        if part is None:
            groups.append([operation])
            touched = set()
            continue
        if not touched or part in touched or (part[0], WHOLE) in touched:
            groups.append([])
            touched = set()
        groups[-1].append(operation)
        touched.add(part)
    return [group[0] if len(group) == 1 else AtOnce(group) for group in groups]


WHOLE = "*"


def _part(operation: Operation) -> tuple[str, str] | None:
    """Return the model, and the part of it, that an operation makes or changes; None for what stands alone."""
    match operation:
        case CreateModel():
            return operation.name_lower, WHOLE
        case AlterModelOptions():
            return operation.name_lower, "options"
        case AddField() | AlterField():
            return operation.model_name_lower, f"field {operation.name_lower}"
        case AddIndex():
            return operation.model_name_lower, f"index {operation.index.name}"
        case AddConstraint():
            return operation.model_name_lower, f"constraint {operation.constraint.name}"
        case RemoveIndex():
            return operation.model_name_lower, f"index {operation.name}"
        case RemoveConstraint():
            return operation.model_name_lower, f"constraint {operation.name}"
    return None
