"""What entities contributes: the founder, the entities, people, departments, links and cost allocations."""

from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import make_password
from django.core.files.base import ContentFile
from django.db import transaction

from core import clock
from core.access import system_actor
from core.errors import Conflict
from core.history import record_as
from core.models import User, WorkCalendar
from core.sample_data.run import MAIL_DOMAIN, SampleRun, Step, person
from core.sample_data.steps import CALENDARS
from entities.models import Department, Entity, EntityLink, LinkKind, Membership
from entities.sample_data.allocations import allocate_cost
from entities.sample_data.organisation import (
    DEPARTMENTS,
    ENTITIES,
    ROOT,
    SampleDepartment,
    SampleEntity,
)
from entities.sample_data.people import ADMINISTRATOR, FINANCE_MANAGER, PEOPLE, SamplePerson
from entities.services.department import department_create
from entities.services.entity import entity_create, entity_link_set
from entities.services.membership import membership_grant

LOGO = Path(__file__).with_name("logo.svg")


def load_people(run: SampleRun) -> None:
    """Make the people; those with a manager after their manager."""
    # Hashing is slow on purpose; the password is the same for all and known to everybody.
    password = make_password(run.password)
    made = sum(_ensure_person(run, sample, password) for sample in PEOPLE)
    run.count("people", made, there=len(PEOPLE))


def _ensure_person(run: SampleRun, sample: SamplePerson, password: str) -> bool:
    email = f"{sample.username}@{MAIL_DOMAIN}"
    existing = User.objects.filter(username__iexact=sample.username).first()
    if existing is not None:
        if existing.email != email:
            raise Conflict(
                "user_name_taken",
                f'Somebody else has the user name "{sample.username}", which the sample needs. Load the sample into '
                "another database.",
            )
        return False
    user = User(
        username=sample.username,
        email=email,
        first_name=sample.first_name,
        last_name=sample.last_name,
        manager=person(sample.manager) if sample.manager else None,
        time_zone=sample.time_zone,
        work_calendar=_calendar_in(sample.time_zone),
        is_service_account=sample.is_service_account,
        # The sample's months are remembered by when its people joined.
        date_joined=clock.start_of_day(run.start),
        password=password,
    )
    with record_as(system_actor(), "Joined the sample group"):
        user.save()
    return True


def _calendar_in(time_zone: str) -> WorkCalendar | None:
    names = [values["name"] for values in CALENDARS]
    return WorkCalendar.objects.filter(name__in=names, time_zone=time_zone).first()


def load_entities(run: SampleRun) -> None:
    """Make the root, in the system's name, with its administrator; the administrator makes the others."""
    if not Entity.objects.filter(code=ROOT).exists():
        root = _entity_create(system_actor(), ENTITIES[0])
        membership_grant(
            actor=system_actor(),
            user=person(ADMINISTRATOR),
            entity=root,
            role=PEOPLE_BY_NAME[ADMINISTRATOR].memberships[0].role,
            reason="Founds the group",
        )
        run.count("group", 1)
    administrator = person(ADMINISTRATOR)
    missing = [sample for sample in ENTITIES if not Entity.objects.filter(code=sample.code).exists()]
    for sample in missing:
        _entity_create(administrator, sample)
    run.count("entities below it", len(missing), there=len(ENTITIES) - 1)


PEOPLE_BY_NAME = {sample.username: sample for sample in PEOPLE}


def _entity_create(actor: User, sample: SampleEntity) -> Entity:
    fields: dict[str, Any] = dict(sample.fields)
    if fields.get("is_default_issuer") and Entity.objects.filter(is_default_issuer=True).exists():
        # Another group of this database has the mark: it stays there, see invoicing.sample_data.
        fields["is_default_issuer"] = False
    if fields.get("is_issuer"):
        fields["logo"] = ContentFile(LOGO.read_bytes(), name=f"{sample.code.lower()}.svg")
    return entity_create(
        actor=actor,
        name=sample.name,
        code=sample.code,
        entity_type=sample.entity_type,
        parent=Entity.objects.get(code=sample.parent) if sample.parent else None,
        **fields,
    )


def load_departments(run: SampleRun) -> None:
    """Make the departments, parents before children."""
    administrator = person(ADMINISTRATOR)
    made = 0
    for sample in DEPARTMENTS:
        entity = Entity.objects.get(code=sample.entity)
        if entity.departments.filter(code=sample.code).exists():
            continue
        department_create(
            actor=administrator,
            entity=entity,
            name=sample.name,
            code=sample.code,
            cost_center_type=sample.cost_center_type,
            gl_code=sample.gl_code,
            parent=_department(sample),
            manager=person(sample.manager),
        )
        made += 1
    run.count("departments", made, there=len(DEPARTMENTS))


def _department(sample: SampleDepartment) -> Department | None:
    if not sample.parent:
        return None
    return Department.objects.get(entity__code=sample.entity, code=sample.parent)


def load_memberships(run: SampleRun) -> None:
    """Let the people act where they work."""
    administrator = person(ADMINISTRATOR)
    made = there = 0
    for sample in PEOPLE:
        user = person(sample.username)
        for membership in sample.memberships:
            entity = Entity.objects.get(code=membership.entity)
            department = entity.departments.get(code=membership.department) if membership.department else None
            held = Membership.objects.filter(
                user=user, entity=entity, department=department, role=membership.role
            )
            if held.exists():
                there += 1
                continue
            membership_grant(
                actor=administrator,
                user=user,
                entity=entity,
                department=department,
                role=membership.role,
                reason="Works there",
            )
            made += 1
    run.count("memberships", made, there=there)


def load_links(run: SampleRun) -> None:
    """Say who pays for whom where it does not follow from the tree, with two changes within the period."""
    manager = person(FINANCE_MANAGER)
    group, uk, robotics, japan = (
        Entity.objects.get(code=code) for code in (ROOT, "TARN-GB", "TARN-DE-ROB", "TARN-JP")
    )
    if EntityLink.objects.filter(entity__in=[robotics, japan]).exists():
        run.count("payer links", 0, there=EntityLink.objects.filter(entity__in=[robotics, japan]).count())
        return
    third, fourth = run.months[2], run.months[3]
    with transaction.atomic():
        for entity, target, start, end, reason in (
            (robotics, uk, run.year_start, None, "Field Robotics works for the British customers"),
            (robotics, group, third, None, "Field Robotics works for the whole group"),
            (japan, group, run.year_start, fourth, "Headquarters pays until Japan has its own ledger"),
        ):
            entity_link_set(
                actor=manager,
                entity=entity,
                kind=LinkKind.PAYER,
                target=target,
                valid_from=start,
                valid_to=end,
                reason=reason,
            )
    run.count("payer links", 3)


STEPS = [
    Step("People", load_people),
    Step("Entities", load_entities),
    Step("Departments", load_departments),
    Step("Memberships", load_memberships),
    Step("Payer links", load_links),
    Step("Cost allocations", allocate_cost),
]
