"""A small believable group, built through the services, for the tests of every app.

from tests.entities.factories import group
northwind = group()                                # everything below is in it
northwind.root, northwind.germany, northwind.japan, northwind.users["finance_manager"], northwind.it
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.hashers import make_password

from core.access import system_actor
from core.models import User
from entities.models import CostCenterType, Department, Entity, EntityType, Membership, Role
from entities.services import department_create, entity_create, membership_grant

PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)
_hashed = ""


@dataclass
class Group:
    """Northwind Group: a root in USD, subsidiaries in EUR and JPY, a division, departments, a user per role.

    ``users`` act at the root over everything, except ``department_manager`` and ``approver``, who act at the
    department Engineering of the root, and ``outsider``, who belongs to ``other_root``.
    """

    root: Entity
    services: Entity
    germany: Entity
    japan: Entity
    division: Entity
    other_root: Entity
    it: Department
    engineering: Department
    platform: Department
    marketing: Department
    german_sales: Department
    users: dict[str, User] = field(default_factory=dict)

    @property
    def admin(self) -> User:
        """The administrator of the root."""
        return self.users[Role.ADMINISTRATOR]

    @property
    def finance(self) -> User:
        """The finance manager of the root."""
        return self.users[Role.FINANCE_MANAGER]


def user(name: str = "", **fields: Any) -> User:
    """A user who can sign in with PASSWORD, and who acts nowhere yet."""
    global _hashed
    _hashed = _hashed or make_password(PASSWORD)
    number = next(_numbers)
    name = name or f"user{number}"
    first = name.replace("_", " ").replace(".", " ").title().split(" ")
    fields = {
        "username": f"{name}.{number}",
        "email": f"{name}.{number}@northwind.example",
        "first_name": first[0],
        "last_name": " ".join(first[1:]),
        "password": _hashed,
        **fields,
    }
    return User.objects.create(**fields)


def member(entity: Entity, role: str, *, department: Department | None = None, **options: Any) -> User:
    """A new user with one membership, granted by the system."""
    person = user(str(role), is_service_account=role == Role.SERVICE_ACCOUNT)
    grant(person, entity, role, department=department, **options)
    person.refresh_from_db()
    return person


def grant(person: User, entity: Entity, role: str, **options: Any) -> Membership:
    """Give a user a role, by the system."""
    return membership_grant(actor=system_actor(), user=person, entity=entity, role=role, **options)


def entity(name: str = "Contoso", *, parent: Entity | None = None, **fields: Any) -> Entity:
    """An entity created by the system: a root unless a parent is given."""
    fields = {
        "entity_type": EntityType.SUBSIDIARY if parent else EntityType.ROOT,
        "currency": parent.currency if parent else "USD",
        **fields,
    }
    return entity_create(actor=system_actor(), name=name, parent=parent, **fields)


def department(owner: Entity, code: str, name: str = "", **fields: Any) -> Department:
    """A department created by the system."""
    return department_create(
        actor=system_actor(), entity=owner, code=code, name=name or code.title(), **fields
    )


def group() -> Group:
    """Build the Northwind group. Codes are derived, so that several groups fit into one database."""
    root = entity(
        "Northwind Group", currency="USD", country="US", legal_name="Northwind Group Inc.", city="Seattle"
    )
    services = entity(
        "Northwind Shared Services",
        parent=root,
        currency="USD",
        country="US",
        legal_name="Northwind Shared Services LLC",
        is_issuer=True,
        street="1 Harbor Way",
        city="Seattle",
        postal_code="98101",
    )
    germany = entity(
        "Northwind Deutschland",
        parent=root,
        currency="EUR",
        country="DE",
        legal_name="Northwind Deutschland GmbH",
        tax_id="DE136695976",
        time_zone="Europe/Berlin",
        city="Berlin",
    )
    japan = entity("Northwind Japan", parent=root, currency="JPY", country="JP", time_zone="Asia/Tokyo")
    division = entity("Northwind Berlin", parent=germany, entity_type=EntityType.DIVISION)
    built = Group(
        root=root,
        services=services,
        germany=germany,
        japan=japan,
        division=division,
        other_root=entity("Fabrikam", currency="EUR"),
        it=department(
            root, "IT", "Information Technology", cost_center_type=CostCenterType.SERVICE, gl_code="6100"
        ),
        engineering=(engineering := department(root, "ENG", "Engineering", gl_code="6200")),
        platform=department(root, "PLAT", "Platform", parent=engineering, gl_code="6210"),
        marketing=department(root, "MKT", "Marketing", gl_code="6300"),
        german_sales=department(germany, "VERTRIEB", "Vertrieb", gl_code="4400"),
    )
    for role in (
        Role.ADMINISTRATOR,
        Role.FINANCE_MANAGER,
        Role.FINANCE_STAFF,
        Role.AUDITOR,
        Role.SERVICE_ACCOUNT,
    ):
        built.users[role] = member(root, role)
    for role in (Role.DEPARTMENT_MANAGER, Role.APPROVER):
        built.users[role] = member(root, role, department=engineering)
    built.users["outsider"] = member(built.other_root, Role.ADMINISTRATOR)
    return built
