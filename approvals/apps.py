"""The approvals' registration with Django."""

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Grants rights, registers its own types of request, and tells people what waits for them."""

    name = "approvals"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Approvals"

    def ready(self) -> None:
        from approvals import roles  # noqa: F401  # grants its rights
        from approvals.approval_types import register_own_types
        from approvals.mails import design
        from approvals.navigation import register_pages
        from approvals.services import notifications
        from approvals.services.duties import refuse_incompatible_grant
        from approvals.services.reassignment import TOPIC, look_at_tasks_of, reassign_lost
        from core.notifications import register_mail_design
        from core.outbox import register_consumer
        from entities.grant_checks import register_grant_check

        register_own_types()
        register_pages()
        register_grant_check(refuse_incompatible_grant)
        register_consumer("membership.", look_at_tasks_of)
        register_consumer("user.deactivated", look_at_tasks_of)
        register_consumer(TOPIC, reassign_lost)
        register_consumer("approval.task_opened", notifications.tell_of_task)
        register_consumer("approval.reminded", notifications.tell_of_reminder)
        register_consumer("approval.escalated", notifications.tell_of_escalation)
        register_consumer("approval.decided", notifications.tell_of_decision)
        register_consumer("approval.review_overdue", notifications.tell_of_review)
        register_consumer("approval.commented", notifications.tell_of_comment)
        register_consumer("approval.blocked", notifications.tell_of_block)
        register_consumer("approval.delegated", notifications.tell_of_delegation)
        register_mail_design("approval.", design)
