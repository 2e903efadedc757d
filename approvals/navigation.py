"""Where approvals stand in the pages' navigation."""

from approvals.selectors.inbox import count_waiting
from core.pages.navigation import PageEntry, register_page


def register_pages() -> None:
    """Add the inbox, where people without the back-office begin."""
    register_page(
        PageEntry(
            name="Approvals",
            url_name="approvals:inbox",
            icon="task_alt",
            text="What waits for your decision, and what you have asked for.",
            order=10,
            allowed=lambda user: user.has_perm("approvals.view_approvalrequest"),
            count=count_waiting,
            count_means="waiting for you",
            first=True,
        )
    )
