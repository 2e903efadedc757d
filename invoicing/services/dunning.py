"""Reminding payers of what is overdue and not disputed (DSP-03).

What a decided dispute deferred to a day is reminded of apart from the rest of its document, from that day on and by
levels of its own (DSP-14). Payments count for what was never held back first, then for what was deferred, the oldest
due first, and for what is disputed last.
"""

import datetime
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F, Max

from core import clock
from core.access import has, require
from core.errors import Invalid
from core.history import record_as
from core.models import OutboxEvent, User
from core.money import EXACT, exact_sum, plain_amount
from core.outbox import publish
from entities.models import Entity
from entities.services.records import check_fields, field_error, save_record
from invoicing.documents.formats import Words, words_for
from invoicing.models import (
    DUNNING_LANGUAGES,
    CollectionHold,
    DunnedDocument,
    DunningLevel,
    DunningNotice,
    Invoice,
)
from invoicing.selectors.invoice import overdue
from invoicing.services.settlement import ZERO

logger = logging.getLogger(__name__)
TOPIC = "dunning.notice_made"

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "subject": "Reminder {level}: {amount} overdue",
        "body": "Dear Sir or Madam,\n\nthe following is overdue with {issuer}:\n\n{documents}\n\nPlease transfer "
        "{amount}{bank}. If you have paid meanwhile, please disregard this letter.\n\nKind regards\n{issuer}",
        "row": "{number}, due {due}: {amount}",
        "bank": " to {iban}",
    },
    "de": {
        "subject": "Zahlungserinnerung {level}: {amount} überfällig",
        "body": "Sehr geehrte Damen und Herren,\n\nbei {issuer} ist überfällig:\n\n{documents}\n\nBitte überweisen Sie "
        "{amount}{bank}. Falls Sie inzwischen gezahlt haben, betrachten Sie dieses Schreiben als gegenstandslos.\n\n"
        "Mit freundlichen Grüßen\n{issuer}",
        "row": "{number}, fällig am {due}: {amount}",
        "bank": " auf das Konto {iban}",
    },
    "fr": {
        "subject": "Rappel {level} : {amount} échus",
        "body": "Madame, Monsieur,\n\nles montants suivants sont échus auprès de {issuer} :\n\n{documents}\n\nVeuillez "
        "virer {amount}{bank}. Si vous avez payé entre-temps, ne tenez pas compte de ce courrier.\n\n"
        "Cordialement\n{issuer}",
        "row": "{number}, échéance {due} : {amount}",
        "bank": " sur le compte {iban}",
    },
    "es": {
        "subject": "Recordatorio {level}: {amount} vencidos",
        "body": "Estimados señores:\n\nlo siguiente está vencido con {issuer}:\n\n{documents}\n\nRogamos transfieran "
        "{amount}{bank}. Si ya han pagado, no tengan en cuenta esta carta.\n\nAtentamente\n{issuer}",
        "row": "{number}, vencimiento {due}: {amount}",
        "bank": " a la cuenta {iban}",
    },
}


@dataclass(frozen=True, slots=True)
class Demand:
    """A document, or the part of one that ``hold_id`` had deferred, as a notice demands it.

    ``open`` is what is open of the document, ``disputed`` what of it is not demanded here: disputed or deferred.
    """

    invoice_id: int
    number: str
    due_date: datetime.date
    open: Decimal
    disputed: Decimal
    hold_id: int | None = None

    @property
    def demanded(self) -> Decimal:
        return EXACT.subtract(self.open, self.disputed)


@dataclass(frozen=True, slots=True)
class PlannedNotice:
    """What a run would send to one payer: its documents at one level in one currency."""

    issuer: Entity
    entity: Entity
    level: DunningLevel
    currency: str
    demands: Sequence[Demand]

    @property
    def amount(self) -> Decimal:
        return exact_sum([demand.demanded for demand in self.demands])


# --- Levels ----------------------------------------------------------------------------------------------


def dunning_level_save(
    *,
    actor: User,
    issuer: Entity,
    level: int,
    days_overdue: int,
    texts: Mapping[str, Mapping[str, str]] | None = None,
    is_active: bool = True,
    standing: DunningLevel | None = None,
) -> DunningLevel:
    """Add a level, or change ``standing``. Later levels must come later.

    Raises Invalid ``not_an_issuer``, ``levels_not_ordered``, ``invalid_text``.
    """
    verb = "change" if standing else "add"
    require(actor, f"invoicing.{verb}_dunninglevel", issuer)
    if not issuer.is_issuer:
        raise field_error("issuer", "not_an_issuer", f"{issuer} issues nothing, so it has nobody to remind.")
    texts = {language: dict(text) for language, text in (texts or {}).items()}
    _check_texts(texts)
    row = standing or DunningLevel(issuer=issuer)
    row.level, row.days_overdue, row.texts, row.is_active = level, days_overdue, texts, is_active
    check_fields(row)
    with transaction.atomic(), record_as(actor):
        Entity.objects.select_for_update(of=("self",), no_key=True).get(pk=issuer.pk)
        for other in DunningLevel.objects.filter(issuer=issuer).exclude(pk=row.pk):
            if (other.level < level) != (other.days_overdue < days_overdue):
                raise field_error(
                    "days_overdue",
                    "levels_not_ordered",
                    f"Level {other.level} is sent after {other.days_overdue} days: a higher level comes later.",
                )
        save_record(row, {})
    return row


def _check_texts(texts: Mapping[str, Mapping[str, str]]) -> None:
    for language, text in texts.items():
        if language not in DUNNING_LANGUAGES or set(text) - {"subject", "body"}:
            raise field_error("texts", "invalid_text", "Texts are a subject and a body for en, de, fr or es.")
        for name, value in text.items():
            try:
                value.format(level=1, amount="", issuer="", payer="", documents="", bank="")
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise field_error(
                    "texts",
                    "invalid_text",
                    f"The {name} ({language}) names something unknown. It may use {{level}}, {{amount}}, {{issuer}}, "
                    "{payer}, {documents} and {bank}.",
                ) from error


def dunning_level_remove(*, actor: User, level: DunningLevel) -> None:
    """Delete a level; what was sent stays."""
    require(actor, "invoicing.delete_dunninglevel", level.issuer)
    with transaction.atomic(), record_as(actor):
        level.delete()


# --- A run -----------------------------------------------------------------------------------------------


def dunning_plan(*, actor: User, on: datetime.date | None = None) -> list[PlannedNotice]:
    """What a run on that day would send, of the issuers for which ``actor`` may do it; nothing is written.

    A document comes at the highest level that its days allow, once, also when the run was missed for days; so does what
    was deferred of it, by its own day. Left out are documents that are paid, void or credit notes, and what is
    disputed, or deferred to a later day, of the others.
    """
    levels: dict[int, list[DunningLevel]] = defaultdict(list)
    for level in DunningLevel.objects.filter(is_active=True).select_related("issuer").order_by("level"):
        levels[level.issuer_id].append(level)
    allowed = {
        issuer_id: own
        for issuer_id, own in levels.items()
        if actor.is_system or has(actor, "invoicing.add_dunningnotice", own[0].issuer)
    }
    days = {pk: on or clock.today(own[0].issuer.time_zone) for pk, own in allowed.items()}
    latest = max(days.values(), default=clock.today())
    rows = list(
        Invoice.objects.filter(overdue(latest), issuer_id__in=allowed)
        .annotate(open=F("total") - F("settled_amount"))
        .filter(open__gt=F("disputed_amount"))
        .select_related("entity")
        .order_by("issuer_id", "entity__name", "entity_id", "due_date", "id")
    )
    last_levels = _last_levels([row.pk for row in rows])
    groups: dict[tuple[int, int, int, str], list[Demand]] = defaultdict(list)
    payers: dict[int, Entity] = {}
    for row, demands in _demands(rows):
        payers[row.entity_id] = row.entity
        for demand in demands:
            passed = (days[row.issuer_id] - demand.due_date).days
            reached = [level for level in allowed[row.issuer_id] if level.days_overdue <= passed]
            if passed > 0 and reached and reached[-1].level > last_levels.get((row.pk, demand.hold_id), 0):
                groups[row.issuer_id, row.entity_id, reached[-1].pk, row.currency].append(demand)
    by_pk = {level.pk: level for own in allowed.values() for level in own}
    return [
        PlannedNotice(by_pk[level_id].issuer, payers[payer_id], by_pk[level_id], currency, found)
        for (_, payer_id, level_id, currency), found in groups.items()
    ]


def _last_levels(invoice_ids: Sequence[int]) -> dict[tuple[int, int | None], int]:
    """The highest level that was sent, by document and deferred part."""
    rows = DunnedDocument.objects.filter(invoice_id__in=invoice_ids).order_by()
    sent = rows.values_list("invoice_id", "hold_id").annotate(last=Max("level"))
    return {(invoice_id, hold_id): level for invoice_id, hold_id, level in sent}


def _demands(documents: Sequence[Any]) -> Iterator[tuple[Any, list[Demand]]]:
    """What may be demanded of each document by the days on which its parts are due; one query."""
    deferred: dict[int, list[CollectionHold]] = defaultdict(list)
    ids = [row.pk for row in documents]
    found = CollectionHold.objects.filter(
        invoice_id__in=ids, released_at__isnull=True, due_date__isnull=False
    )
    for hold in found.order_by("-due_date", "-pk"):
        deferred[hold.invoice_id].append(hold)
    for row in documents:
        number, left = row.number or "", EXACT.subtract(row.open_amount, row.disputed_amount)
        parts: list[Demand] = []
        for hold in deferred[row.pk]:
            assert hold.due_date is not None  # by the filter
            part = min(hold.amount, max(left, ZERO))
            left = EXACT.subtract(left, part)
            elsewhere = EXACT.subtract(row.open_amount, part)
            parts.append(Demand(row.pk, number, hold.due_date, row.open_amount, elsewhere, hold.pk))
        elsewhere = EXACT.subtract(row.open_amount, max(left, ZERO))
        parts.append(Demand(row.pk, number, row.due_date, row.open_amount, elsewhere))
        yield row, [demand for demand in reversed(parts) if demand.demanded > 0]


def dunning_run(*, actor: User, on: datetime.date | None = None) -> list[DunningNotice]:
    """Write and send what is planned: each notice in a transaction of its own; a document once per level.

    Two runs at once send nothing twice: the documents are locked and looked at again.
    """
    if not actor.is_system:
        require(actor, "invoicing.add_dunningnotice")
    notices = [_notify(actor, planned, on) for planned in dunning_plan(actor=actor, on=on)]
    return [notice for notice in notices if notice is not None]


def _notify(actor: User, planned: PlannedNotice, on: datetime.date | None) -> DunningNotice | None:
    with transaction.atomic(), record_as(actor):
        ids = sorted({demand.invoice_id for demand in planned.demands})
        planned_parts = {(demand.invoice_id, demand.hold_id) for demand in planned.demands}
        day = on or clock.today(planned.issuer.time_zone)
        locked = list(
            Invoice.objects.select_for_update(of=("self",), no_key=True)
            .filter(overdue(day), pk__in=ids)
            .order_by("pk")
        )
        last_levels = _last_levels(ids)
        demands = [
            demand
            for row, parts in _demands(sorted(locked, key=lambda row: (row.due_date, row.pk)))
            for demand in parts
            if (row.pk, demand.hold_id) in planned_parts
            and demand.due_date < day
            and last_levels.get((row.pk, demand.hold_id), 0) < planned.level.level
        ]
        if not demands:
            return None
        return _write(actor, planned, demands, day)


def _write(
    actor: User, planned: PlannedNotice, demands: Sequence[Demand], day: datetime.date
) -> DunningNotice:
    payer = planned.entity
    amount = exact_sum([demand.demanded for demand in demands])
    subject, body, language = dunning_text(planned, demands)
    notice = DunningNotice.objects.create(
        issuer=planned.issuer, entity=payer, level=planned.level.level, currency=planned.currency, amount=amount,
        dated=day, language=language, subject=subject[:200], body=body, recipient=payer.billing_email,
        created_by=actor, created_at=clock.now(),
    )  # fmt: skip
    DunnedDocument.objects.bulk_create(
        DunnedDocument(
            notice=notice, invoice_id=demand.invoice_id, hold_id=demand.hold_id, level=notice.level,
            due_date=demand.due_date, open_amount=demand.open, disputed_amount=demand.disputed,
            demanded_amount=demand.demanded,
        )
        for demand in demands
    )  # fmt: skip
    publish(
        TOPIC,
        {
            "dunning_notice_id": notice.pk,
            "entity_id": payer.pk,
            "issuer_id": planned.issuer.pk,
            "level": notice.level,
            "amount": plain_amount(amount, notice.currency),
            "currency": notice.currency,
        },
        key=f"dunning_notice:{notice.pk}",
    )
    return notice


def dunning_text(planned: PlannedNotice, demands: Sequence[Demand]) -> tuple[str, str, str]:
    """Subject, body and language of a notice: the level's own text, else the product's, in the payer's language."""
    words: Words = words_for(planned.entity.language, planned.entity.country)
    language = words.text_language
    known = TEXTS[language]
    own = planned.level.texts.get(language, {})

    def money(amount: Decimal) -> str:
        return f"{words.amount(amount, planned.currency)} {planned.currency}"

    iban = planned.issuer.iban
    values = {
        "level": planned.level.level,
        "amount": money(exact_sum([demand.demanded for demand in demands])),
        "issuer": planned.issuer.printed_name,
        "payer": planned.entity.printed_name,
        "bank": known["bank"].format(iban=iban) if iban else "",
        "documents": "\n".join(
            known["row"].format(number=one.number, due=words.date(one.due_date), amount=money(one.demanded))
            for one in demands
        ),
    }
    subject = (own.get("subject") or known["subject"]).format(**values)
    return " ".join(subject.split()), (own.get("body") or known["body"]).format(**values), language


def send_notice(event: OutboxEvent) -> None:
    """Outbox consumer: mail the notice once; without an address it waits to be printed."""
    notice = (
        DunningNotice.objects.select_for_update(of=("self",))
        .filter(pk=event.payload["dunning_notice_id"], sent_at__isnull=True)
        .exclude(recipient="")
        .first()
    )
    if notice is None:
        return
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    EmailMessage(
        subject=notice.subject,
        body=notice.body,
        to=[notice.recipient],
        headers={"Message-ID": f"<dunning-{notice.pk}@{domain}>", "Auto-Submitted": "auto-generated"},
    ).send()
    notice.sent_at = clock.now()
    notice.save(update_fields=["sent_at"])


def checked_day(on: datetime.date | None) -> datetime.date | None:
    """A run is of today or of a past day; Invalid ``date_in_future``."""
    if on is not None and on > clock.today() + datetime.timedelta(days=1):
        raise Invalid("date_in_future", "A run in the future would remind of what is not overdue yet.")
    return on
