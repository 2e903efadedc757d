"""What each role may do with the organisation and with what core keeps for all (ENT-05)."""

from entities.access import grant
from entities.models import Role

EVERYONE = tuple(Role.values)
FINANCE = (Role.ADMINISTRATOR, Role.FINANCE_MANAGER, Role.FINANCE_STAFF)
WORKERS = (*FINANCE, Role.SERVICE_ACCOUNT)
READERS = (*WORKERS, Role.AUDITOR)
MANAGERS = (Role.ADMINISTRATOR, Role.FINANCE_MANAGER)

grant(
    {
        "entities.view_entity",
        "entities.view_entitylink",
        "entities.view_entity_costs",
        "entities.view_department",
        "entities.view_department_costs",
        "entities.view_costallocation",
        "entities.view_allocationposting",
        "entities.view_allocationrule",
        "entities.view_allocationruleversion",
        "entities.view_allocationruletarget",
        "core.view_workcalendar",
    },
    to=EVERYONE,
)
grant({"core.view_exchangerate"}, to=READERS)
grant({"entities.view_membership", "core.view_user"}, to=(*FINANCE, Role.AUDITOR))
grant(
    {
        "entities.add_costallocation",
        "entities.add_allocationposting",
        "entities.reverse_allocationposting",
        "entities.add_allocationrule",
        "entities.change_allocationrule",
        "entities.run_allocationrule",
        "entities.add_department",
        "entities.change_department",
        "entities.delete_department",
        "core.add_exchangerate",
    },
    to=WORKERS,
)
grant({"entities.add_entity", "entities.change_entity"}, to=(*MANAGERS, Role.SERVICE_ACCOUNT))
grant(
    {
        "entities.delete_entity",
        "entities.add_entitylink",
        "entities.change_entitylink",
        "entities.delete_entitylink",
        "entities.delete_allocationrule",
        "core.change_exchangerate",
        "core.delete_exchangerate",
        "core.add_workcalendar",
        "core.change_workcalendar",
    },
    to=MANAGERS,
)
grant(
    {
        "entities.add_membership",
        "entities.change_membership",
        "entities.delete_membership",
        "entities.manage_membership",
        "core.add_user",
        "core.change_user",
        "core.view_outboxevent",
        "core.change_outboxevent",
        "django_celery_beat.view_periodictask",
        "django_celery_beat.change_periodictask",
        "django_celery_results.view_taskresult",
    },
    to=(Role.ADMINISTRATOR,),
)
