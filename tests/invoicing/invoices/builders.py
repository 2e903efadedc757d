"""A small group and its usage, for the invoice tests: entities through the services, usage rows in bulk."""

import hashlib
import itertools
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from core.access import system_actor
from core.models import ExchangeRate, User
from entities.models import Department, Entity, EntityType, Role
from entities.services.department import department_create
from entities.services.entity import entity_create
from entities.services.membership import membership_grant
from invoicing.models import ImportStatus, UsageImport, UsageRecord

SEPTEMBER = (date(2024, 9, 1), date(2024, 10, 1))
_serial = itertools.count(1)


@dataclass
class Group:
    """Root "Northwind Group" (USD), the issuer "Northwind Services", two subsidiaries, a few departments."""

    root: Entity
    issuer: Entity
    germany: Entity
    japan: Entity
    sales: Department
    research: Department
    tokyo: Department
    manager: User
    usage_import: UsageImport
    people: dict[str, User] = field(default_factory=dict)

    def person(self, role: str, entity: Entity | None = None, department: Department | None = None) -> User:
        """A user with one role at an entity (the root unless given)."""
        user = User.objects.create_user(
            f"{role}-{next(_serial)}",
            email=f"user{next(_serial)}@example.com",
            is_service_account=role == Role.SERVICE_ACCOUNT,
        )
        membership_grant(
            actor=system_actor(), user=user, entity=entity or self.root, department=department, role=role
        )
        return user

    def use(
        self,
        amount: str,
        entity: Entity | None = None,
        department: Department | None = None,
        **fields: object,
    ) -> UsageRecord:
        """One charge; without an entity it is of the department's, or the root's."""
        return usage(self.usage_import, [row(amount, entity, department, self.root, **fields)])[0]


def row(
    amount: str, entity: Entity | None, department: Department | None, root: Entity, **fields: object
) -> dict[str, object]:
    owner_id = department.entity_id if department else (entity or root).pk
    return {"billed_cost": Decimal(amount), "entity_id": owner_id, "department": department, **fields}


def usage(usage_import: UsageImport, rows: list[dict[str, object]]) -> list[UsageRecord]:
    """Charges as an import writes them."""
    records = []
    for values in rows:
        number = next(_serial)
        day = values.pop("day", date(2024, 9, 15))
        start = datetime.combine(day, time(), UTC)
        defaults = {
            "usage_import": usage_import,
            "root_id": usage_import.root_id,
            "line_number": number,
            "row_hash": hashlib.sha256(str(number).encode()).digest(),
            "charge_period_start": start,
            "charge_period_end": start + timedelta(hours=1),
            "charge_date": day,
            "billing_period_start": start,
            "billing_period_end": start + timedelta(days=30),
            "currency": "USD",
            "charge_category": "Usage",
            "provider_name": "AWS",
            "service_name": "Amazon Elastic Compute Cloud",
            "billing_account_id": "1",
        }
        records.append(UsageRecord(**{**defaults, **values}))
    return UsageRecord.objects.bulk_create(records, batch_size=1000)


def rate(
    base: str, quote: str, value: str, on: date = date(2024, 9, 30), source: str = "ECB"
) -> ExchangeRate:
    return ExchangeRate.objects.create(base=base, quote=quote, rate=Decimal(value), date=on, source=source)


def build_group(**root_details: object) -> Group:
    """The group in a fresh database."""
    system = system_actor()
    root = entity_create(
        actor=system,
        name="Northwind Group",
        legal_name="Northwind Group Inc.",
        entity_type=EntityType.ROOT,
        code="NORTH",
        street="1 Harbor Street",
        postal_code="98101",
        city="Seattle",
        country="US",
        **{"currency": "USD", **root_details},
    )
    issuer = entity_create(
        actor=system,
        name="Northwind Services",
        legal_name="Northwind Shared Services GmbH",
        entity_type=EntityType.SUBSIDIARY,
        code="SHS",
        parent=root,
        currency="USD",
        country="DE",
        street="Hafenstr. 5",
        postal_code="20457",
        city="Hamburg",
        tax_id="DE136695976",
        iban="DE02120300000000202051",
        bic="BYLADEM1001",
        bank_name="DKB",
        is_issuer=True,
        is_default_issuer=True,
        time_zone="Europe/Berlin",
    )
    germany = entity_create(
        actor=system,
        name="Northwind Germany",
        entity_type="subsidiary",
        code="NDE",
        parent=root,
        currency="EUR",
    )
    japan = entity_create(
        actor=system,
        name="Northwind Japan",
        entity_type="subsidiary",
        code="NJP",
        parent=root,
        currency="JPY",
    )
    usage_import = UsageImport(
        entity=root, root=root, file_name="usage.csv", file_sha256="0" * 64, created_by=system,
        status=ImportStatus.COMPLETED,
    )  # fmt: skip
    usage_import.save()
    group = Group(
        root=root,
        issuer=issuer,
        germany=germany,
        japan=japan,
        sales=department_create(actor=system, entity=germany, name="Sales", code="100", gl_code="6000"),
        research=department_create(actor=system, entity=germany, name="Research", code="200"),
        tokyo=department_create(actor=system, entity=japan, name="Tokyo office", code="100"),
        manager=system,
        usage_import=usage_import,
    )
    group.manager = group.person(Role.FINANCE_MANAGER)
    return group
