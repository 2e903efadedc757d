"""Where disputes stand in the pages' navigation."""

from core.pages.navigation import PageEntry, register_page
from disputes.selectors.customer import count_asked


def register_pages() -> None:
    """Add the customers' disputes."""
    register_page(
        PageEntry(
            name="Disputes",
            url_name="disputes:list",
            icon="flag",
            text="What is wrong with an invoice: say so, follow it, answer.",
            order=30,
            allowed=lambda user: user.has_perm("disputes.view_billingdispute"),
            count=count_asked,
            count_means="waiting for your answer",
        )
    )
