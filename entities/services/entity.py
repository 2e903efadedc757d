"""Entities: made, changed, moved, switched off, deleted (ENT-00, ENT-01, ENT-02)."""

import datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils.text import slugify

from core import clock
from core.access import is_system, require
from core.errors import Conflict, FieldProblem
from core.history import record_as
from core.models import User
from core.money import ExactCostField, MoneyField, decimal_places, minor_units
from core.outbox import publish
from entities.models import Entity, EntityClosure, EntityLink, EntityType, Membership
from entities.services.membership import membership_appoint_founder, staff_flag_refresh
from entities.services.records import apply_changes, check_fields, delete_record, field_error, save_record
from entities.validators import clean_bic, clean_iban, clean_tax_id

CODE_LENGTH = 24
DERIVED_CODE_LENGTH = 21  # room for a hyphen and two digits
CODE_CONSTRAINT = "billing_entities_code_key"


class EntityDetails(TypedDict, total=False):
    """What may be given besides name, type and currency; units are those of the model's fields."""

    legal_name: str
    registration_number: str
    tax_id: str
    country: str
    street: str
    postal_code: str
    city: str
    region: str
    billing_email: str
    language: str
    payment_terms_days: int
    credit_limit: Decimal | None
    credit_limit_policy: str
    consolidated_billing: bool
    time_zone: str
    fiscal_year_start_month: int
    tax_treatment: str
    tax_rate: Decimal
    usage_markup_percent: Decimal
    is_issuer: bool
    is_default_issuer: bool
    tax_rounding: str
    bank_name: str
    iban: str
    bic: str
    logo: Any


class EntityChanges(EntityDetails, total=False):
    """What `entity_update` can change."""

    name: str
    code: str
    entity_type: str
    currency: str
    parent: Entity | None
    is_active: bool


CHANGEABLE = frozenset(EntityChanges.__optional_keys__)
DETAILS = frozenset(EntityDetails.__optional_keys__)


@transaction.atomic
def entity_create(
    *,
    actor: User,
    name: str,
    entity_type: str,
    currency: str,
    parent: Entity | None = None,
    code: str = "",
    **details: Unpack[EntityDetails],
) -> Entity:
    """Create an entity below ``parent``, or a new root whose administrator the actor becomes (ENT-01).

    Without ``code`` one is derived from the name. Raises Forbidden, Invalid (fields by pointer,
    ``root_has_parent``, ``invalid_tax_id``), Conflict ``already_exists`` (code), ``parent_inactive``.
    """
    require(actor, "entities.add_entity", parent)
    if parent is not None:
        parent = _lock(parent.pk)[parent.pk]
        _check_parent_active(parent)
    entity = Entity(
        name=name, entity_type=entity_type, currency=currency, parent=parent, code=code.strip().upper()
    )
    apply_changes(entity, dict(details), allowed=DETAILS)
    with record_as(actor):
        if entity.code:
            _check(entity)
            _save(entity)
        else:
            _save_with_derived_code(entity)
        if parent is None and not is_system(actor):
            membership_appoint_founder(actor=actor, entity=entity)
    publish("entity.created", {"entity_id": entity.pk}, key=f"entity:{entity.pk}")
    return entity


@transaction.atomic
def entity_update(
    *,
    actor: User,
    entity: Entity,
    expected_version: int | None = None,
    reason: str = "",
    **changes: Unpack[EntityChanges],
) -> Entity:
    """Change an entity; ``parent`` moves it with all that is below it, which changes no past document (ENT-02).

    Raises Stale, and what `entity_create` raises; Conflict ``entity_cycle``, ``currency_in_use``,
    ``active_children``, ``default_issuer_needed``.
    """
    require(actor, "entities.change_entity", entity)
    new_parent = changes.get("parent")
    rows = _lock(entity.pk, *([new_parent.pk] if new_parent else []))
    locked = rows[entity.pk]
    locked.expect_version(expected_version)
    before = {field.attname: getattr(locked, field.attname) for field in Entity._meta.concrete_fields}
    if "code" in changes:
        changes["code"] = changes["code"].strip().upper()
    if new_parent is not None:
        changes["parent"] = rows[new_parent.pk]
    changed = apply_changes(locked, dict(changes), allowed=CHANGEABLE)
    if not changed:
        return locked
    if "parent" in changed:
        _check_move(actor, locked, Entity.objects.filter(pk=before["parent_id"]).first())
    if "currency" in changed:
        _check_currency_free(locked, before["currency"])
    if "is_active" in changed and not locked.is_active:
        _check_can_rest(locked)
    _check(locked)
    with record_as(actor, reason):
        _save(locked)
        if "parent" in changed and locked.parent_id is None and not is_system(actor):
            membership_appoint_founder(actor=actor, entity=locked)
    publish("entity.updated", {"entity_id": locked.pk, "changed": sorted(changed)}, key=f"entity:{locked.pk}")
    return locked


def entity_move(
    *,
    actor: User,
    entity: Entity,
    parent: Entity | None,
    entity_type: str = "",
    expected_version: int | None = None,
    reason: str = "",
) -> Entity:
    """Put an entity under another parent, or make it a root. A type Root must change with it (``entity_type``)."""
    changes: EntityChanges = {"parent": parent}
    if entity_type:
        changes["entity_type"] = entity_type
    return entity_update(
        actor=actor, entity=entity, expected_version=expected_version, reason=reason, **changes
    )


def entity_deactivate(*, actor: User, entity: Entity, reason: str) -> Entity:
    """Switch an entity off: nothing new can be made in it, all that exists stays. Needs its children off first."""
    return entity_update(actor=actor, entity=entity, reason=reason, is_active=False)


def entity_reactivate(*, actor: User, entity: Entity, reason: str) -> Entity:
    """Switch an entity on again."""
    return entity_update(actor=actor, entity=entity, reason=reason, is_active=True)


@transaction.atomic
def entity_delete(*, actor: User, entity: Entity, reason: str = "") -> None:
    """Delete an entity on which nothing depends; who acts there goes with it. Else Conflict ``in_use``."""
    require(actor, "entities.delete_entity", entity)
    locked = _lock(entity.pk)[entity.pk]
    with record_as(actor, reason):
        members = list(User.objects.filter(memberships__entity=locked).distinct())
        with transaction.atomic():
            for membership in Membership.objects.filter(entity=locked, department__isnull=True):
                membership.delete()
            delete_record(locked, name=str(locked), instead="Deactivate it to keep it out of new work.")
        for member in members:
            staff_flag_refresh(member)
    publish("entity.deleted", {"entity_id": entity.pk}, key=f"entity:{entity.pk}")


# --- Dated links (ENT-02) --------------------------------------------------------------------------------


@transaction.atomic
def entity_link_set(
    *,
    actor: User,
    entity: Entity,
    kind: str,
    target: Entity,
    valid_from: datetime.date,
    valid_to: datetime.date | None = None,
    reason: str = "",
) -> EntityLink:
    """Let ``target`` be owner, invoice owner or payer of ``entity`` from a day on (ENT-02).

    An open link of the same kind ends the day the new one begins. The actor needs the right at both ends: who
    is named will be billed. Raises Invalid ``other_group``, ``dates_not_ordered``, Conflict ``link_overlaps``.
    """
    require(actor, "entities.add_entitylink", entity)
    require(actor, "entities.add_entitylink", target)
    _lock(entity.pk, target.pk)
    if root_id_of(entity.pk) != root_id_of(target.pk):
        raise field_error("target_id", "other_group", f"{target} belongs to another group than {entity}.")
    if not target.is_active:
        raise Conflict(
            "entity_inactive", f"{target} is inactive. Reactivate it first, or name another entity."
        )
    link = EntityLink(entity=entity, kind=kind, target=target, valid_from=valid_from, valid_to=valid_to)
    check_fields(link)
    if valid_to is not None and valid_to <= valid_from:
        raise field_error("valid_to", "dates_not_ordered", "valid_to must be later than valid_from.")
    with record_as(actor, reason):
        current = entity.links.filter(kind=kind, valid_from__lt=valid_from, valid_to__isnull=True).first()
        if current is not None:
            current.valid_to = valid_from
            current.save()
        overlap = Conflict(
            "link_overlaps",
            f"{entity} has another {link.get_kind_display().lower()} link within these dates. End that one first, "
            "or choose dates that leave it out.",
        )
        save_record(link, {f"entity_link_{kind}_no_overlap": overlap})
    publish("entity.link_set", {"entity_id": entity.pk, "link_id": link.pk}, key=f"entity:{entity.pk}")
    return link


@transaction.atomic
def entity_link_end(
    *, actor: User, link: EntityLink, on: datetime.date, reason: str = ""
) -> EntityLink | None:
    """End a link: ``on`` is the first day it no longer holds. One that has not begun by then is deleted (None)."""
    require(actor, "entities.change_entitylink", link)
    locked = EntityLink.objects.select_for_update(of=("self",)).get(pk=link.pk)
    if locked.valid_to is not None and locked.valid_to <= on:
        raise Conflict("already_ended", f"The link ends on {locked.valid_to} already.")
    with record_as(actor, reason):
        if on <= locked.valid_from:
            if locked.valid_from <= clock.today():
                raise field_error(
                    "valid_to",
                    "dates_not_ordered",
                    f"The link began on {locked.valid_from}: end it on a later day.",
                )
            locked.delete()
            return None
        locked.valid_to = on
        locked.save()
    publish(
        "entity.link_ended",
        {"entity_id": locked.entity_id, "link_id": locked.pk},
        key=f"entity:{locked.entity_id}",
    )
    return locked


# --- Checks ----------------------------------------------------------------------------------------------


def root_id_of(entity_id: int) -> int:
    """The id of the top of an entity's group."""
    return int(
        EntityClosure.objects.filter(descendant_id=entity_id)
        .order_by("-depth")
        .values_list("ancestor_id", flat=True)[0]
    )


def _lock(*ids: int) -> dict[int, Entity]:
    """Lock entities in ascending id order, without blocking rows that refer to them."""
    rows = Entity.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")
    return {row.pk: row for row in rows}


def _check(entity: Entity) -> None:
    """Everything about an entity that needs no other record."""
    entity.name = entity.name.strip()
    entity.country = entity.country.strip().upper()
    # First what the numbers, currency and country are, then what depends on them.
    tax_id, entity.tax_id = entity.tax_id, ""
    iban, entity.iban = entity.iban, ""
    bic, entity.bic = entity.bic, ""
    check_fields(entity)
    for name, value, clean in (
        ("tax_id", tax_id, lambda text: clean_tax_id(text, entity.country)),
        ("iban", iban, clean_iban),
        ("bic", bic, clean_bic),
    ):
        try:
            setattr(entity, name, clean(value))
        except ValidationError as error:
            raise field_error(name, error.code or "invalid", " ".join(error.messages)) from error
    check_fields(entity)
    if entity.entity_type == EntityType.ROOT and entity.parent_id is not None:
        raise field_error(
            "parent_id", "root_has_parent", "A root stands at the top of its group and has no parent."
        )
    if entity.credit_limit is not None and decimal_places(entity.credit_limit.normalize()) > minor_units(
        entity.currency
    ):
        detail = f"{entity.currency} amounts have at most {minor_units(entity.currency)} decimals."
        raise field_error("credit_limit", "amount_too_precise", detail)
    if entity.is_default_issuer and not entity.is_issuer:
        raise field_error("is_default_issuer", "not_an_issuer", "Only an issuer can be the default issuer.")


def _save(entity: Entity) -> None:
    taken = f'The code "{entity.code}" is taken. Choose another one.'
    cycle = f"{entity} cannot be placed under itself or below one of its own descendants."
    issuer = "Another entity is the default issuer. Take the mark off there first."
    save_record(
        entity,
        {
            CODE_CONSTRAINT: Conflict(
                "already_exists", taken, errors=[FieldProblem("/code", "already_exists", taken)]
            ),
            "entity_no_cycle": Conflict(
                "entity_cycle", cycle, errors=[FieldProblem("/parent_id", "entity_cycle", cycle)]
            ),
            "entity_not_its_own_parent": Conflict(
                "entity_cycle", cycle, errors=[FieldProblem("/parent_id", "entity_cycle", cycle)]
            ),
            "entity_one_default_issuer": Conflict(
                "default_issuer_exists",
                issuer,
                errors=[FieldProblem("/is_default_issuer", "default_issuer_exists", issuer)],
            ),
        },
    )


def derived_codes(name: str) -> "list[str]":
    """Codes to try for a name, the plain one first: NORTHWIND-GMBH, NORTHWIND-GMBH-2, …"""
    words = slugify(name).upper().replace("_", "-").strip("-")
    stem = words[:DERIVED_CODE_LENGTH]
    if len(words) > DERIVED_CODE_LENGTH and "-" in stem and words[DERIVED_CODE_LENGTH] != "-":
        stem = stem.rsplit("-", 1)[0]
    stem = stem.strip("-") or "ENTITY"
    taken = set(Entity.objects.filter(code__startswith=stem).values_list("code", flat=True))
    numbered = (stem if number == 1 else f"{stem}-{number}" for number in range(1, len(taken) + 22))
    return [code for code in numbered if code not in taken]


def _save_with_derived_code(entity: Entity) -> None:
    for code in derived_codes(entity.name):
        entity.code = code
        _check(entity)
        try:
            _save(entity)
        except Conflict as conflict:
            # Somebody took the code since it was looked up: the next one is tried.
            if conflict.code != "already_exists":
                raise
            continue
        return
    raise Conflict("already_exists", "No free code was found. Give a code of your own.")


def _check_parent_active(parent: Entity) -> None:
    if not parent.is_active:
        detail = f"{parent} is inactive. Reactivate it first, or choose another parent."
        raise Conflict(
            "parent_inactive", detail, errors=[FieldProblem("/parent_id", "parent_inactive", detail)]
        )


def _check_move(actor: User, entity: Entity, old_parent: Entity | None) -> None:
    if old_parent is not None:
        require(actor, "entities.change_entity", old_parent)
    if entity.parent is not None:
        require(actor, "entities.add_entity", entity.parent)
        _check_parent_active(entity.parent)


def _check_currency_free(entity: Entity, old_currency: str) -> None:
    holders = money_kept_for(entity)
    if holders:
        detail = (
            f"The currency of {entity} stays {old_currency}: there are {', '.join(holders)} in it. "
            "Create a new entity for the new currency."
        )
        raise Conflict(
            "currency_in_use",
            detail,
            errors=[FieldProblem("/currency", "currency_in_use", detail)],
            extra={"used_by": holders},
        )


def money_kept_for(entity: Entity) -> list[str]:
    """The kinds of records with amounts that belong to the entity, of whatever app, in people's words.

    Found by the models' own relations, so that an app above is never forgotten and never imported.
    """
    kinds = set()
    for relation in Entity._meta.get_fields(include_hidden=True):
        model = relation.related_model
        if not relation.auto_created or relation.concrete or not isinstance(model, type):
            continue
        if model is Entity or hasattr(model, "instance_type") or not _has_amounts(model):
            continue
        if model._base_manager.filter(**{relation.field.name: entity.pk}).exists():  # type: ignore[union-attr]
            kinds.add(str(model._meta.verbose_name_plural))
    return sorted(kinds)


def _has_amounts(model: type[models.Model]) -> bool:
    return any(isinstance(field, (MoneyField, ExactCostField)) for field in model._meta.concrete_fields)


def _check_can_rest(entity: Entity) -> None:
    children = list(
        entity.children.filter(is_active=True).order_by("name").values_list("name", flat=True)[:5]
    )
    if children:
        raise Conflict(
            "active_children",
            f"{entity} has active entities below it ({', '.join(children)}). Deactivate or move them first.",
        )
    if entity.is_default_issuer:
        raise Conflict(
            "default_issuer_needed",
            f"{entity} is the default issuer. Make another entity the default issuer first.",
        )
