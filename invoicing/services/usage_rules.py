"""Mapping rules: which department a row goes to (USE-03)."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

from django.db import transaction

from core.access import Actor, require
from core.errors import Conflict, Invalid
from core.history import record_as
from entities.models import Department, Entity, EntityClosure
from entities.services.records import apply_changes, check_fields, field_error, save_record
from invoicing.models import MappingSource, UsageMappingRule

DEFAULT_PRIORITY = 100
PRIORITY_STEP = 10


class RuleChanges(TypedDict, total=False):
    """What `usage_mapping_rule_update` can change."""

    priority: int
    source: str
    tag_key: str
    value: str
    department: Department
    is_active: bool


CHANGEABLE = frozenset(RuleChanges.__optional_keys__)


@transaction.atomic
def usage_mapping_rule_create(
    *,
    actor: Actor,
    entity: Entity,
    value: str,
    department: Department,
    source: str = MappingSource.TAG,
    tag_key: str = "",
    priority: int = DEFAULT_PRIORITY,
    is_active: bool = True,
) -> UsageMappingRule:
    """Send rows imported for `entity` that have `value` to `department`, from the next import or remap on.

    Raises Forbidden, Invalid (fields by pointer), Conflict `already_exists`.
    """
    require(actor, "invoicing.add_usagemappingrule", entity)
    rule = UsageMappingRule(
        entity=entity,
        value=value,
        department=department,
        source=source,
        tag_key=tag_key,
        priority=priority,
        is_active=is_active,
    )
    with record_as(actor):
        _save(rule)
    return rule


@transaction.atomic
def usage_mapping_rule_update(
    *,
    actor: Actor,
    rule: UsageMappingRule,
    expected_version: int | None = None,
    **changes: Unpack[RuleChanges],
) -> UsageMappingRule:
    """Change a rule. Rows that are in stay where they are until `usage_remap`."""
    require(actor, "invoicing.change_usagemappingrule", rule.entity)
    locked = UsageMappingRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
    locked.expect_version(expected_version)
    if apply_changes(locked, changes, allowed=CHANGEABLE):
        with record_as(actor):
            _save(locked)
    return locked


@transaction.atomic
def usage_mapping_rule_delete(
    *, actor: Actor, rule: UsageMappingRule, expected_version: int | None = None, reason: str = ""
) -> None:
    """Delete a rule. Rows that it mapped keep their department."""
    require(actor, "invoicing.delete_usagemappingrule", rule.entity)
    locked = UsageMappingRule.objects.select_for_update(of=("self",)).get(pk=rule.pk)
    locked.expect_version(expected_version)
    with record_as(actor, reason):
        locked.delete()


@transaction.atomic
def usage_mapping_rules_reorder(*, actor: Actor, entity: Entity, rules: Sequence[UsageMappingRule]) -> int:
    """Put all rules of an entity into this order; returns how many changed their priority.

    Raises Invalid `not_all_rules` unless `rules` are exactly the entity's rules.
    """
    require(actor, "invoicing.change_usagemappingrule", entity)
    locked = {
        rule.pk: rule
        for rule in UsageMappingRule.objects.select_for_update(of=("self",))
        .filter(entity=entity)
        .order_by("pk")
    }
    wanted = [rule.pk for rule in rules]
    if sorted(wanted) != sorted(locked):
        raise Invalid(
            "not_all_rules",
            f"Give each of the {len(locked)} rules of {entity} once, in the order in which they are to be tried.",
        )
    changed = 0
    with record_as(actor, "Rules put into another order"):
        for place, pk in enumerate(wanted, start=1):
            rule = locked[pk]
            if rule.priority != place * PRIORITY_STEP:
                rule.priority = place * PRIORITY_STEP
                rule.save(update_fields=["priority", "updated_at"])
                changed += 1
    return changed


def _save(rule: UsageMappingRule) -> None:
    check_fields(rule)
    if not rule.value.strip():
        raise field_error("value", "blank", "Give the value that a row must have.")
    if rule.source == MappingSource.TAG and not rule.tag_key.strip():
        raise field_error("tag_key", "required", "Give the key of the tag, such as business_unit.")
    if rule.source != MappingSource.TAG and rule.tag_key:
        raise field_error("tag_key", "not_allowed", "Only a rule over a tag has a tag key. Clear it.")
    within = EntityClosure.objects.filter(ancestor_id=rule.entity_id, descendant_id=rule.department.entity_id)
    if not within.exists():
        raise field_error(
            "department_id",
            "department_of_other_entity",
            f"{rule.department} belongs to {rule.department.entity}, which is neither {rule.entity} nor below it.",
        )
    taken = Conflict(
        "already_exists",
        f'{rule.entity} has a rule for "{rule}" already. Change that one, or delete it first.',
    )
    save_record(rule, {"usage_mapping_rule_once": taken})
