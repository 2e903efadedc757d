"""The organisation's registration with Django."""

from django.apps import AppConfig


class EntitiesConfig(AppConfig):
    """Tells core who sees whom and who must stay, and registers the costs that entities knows itself."""

    name = "entities"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Organisation"

    def ready(self) -> None:
        from core.access import register_permission_explainer
        from core.accounts import register_deactivation_check
        from core.querysets import register_user_scope
        from entities import roles  # noqa: F401  # grants its rights
        from entities.access import role_names_granting, users_shown_to
        from entities.cost_sources import register_cost_source
        from entities.selectors import allocation_cost_rows
        from entities.services.membership import refuse_last_administrator

        register_permission_explainer(role_names_granting)
        register_user_scope(users_shown_to)
        register_deactivation_check(refuse_last_administrator)
        register_cost_source("cost_allocations", allocation_cost_rows)
