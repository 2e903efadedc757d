"""Core's registration with Django."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """Registers the consumer that mails notifications."""

    name = "core"
    verbose_name = "Core"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Models are ready: consumers may be imported."""
        from core.notifications import TOPIC, send_notification_mail
        from core.outbox import register_consumer

        register_consumer(TOPIC, send_notification_mail)
