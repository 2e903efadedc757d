from django.apps import AppConfig


class EntitiesConfig(AppConfig):
    name = "entities"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Organisation"

    def ready(self) -> None:
        from core.access import register_permission_explainer
        from entities.access import role_names_granting

        register_permission_explainer(role_names_granting)
