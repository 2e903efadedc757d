"""Where people begin: `/` sends them on, `/home/` lists what they can open and what they were told."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.generic import View

from core import clock
from core.models import Notification, User
from core.pages.base import PageMixin, PageView
from core.pages.navigation import PageEntry, page_links, register_page
from core.pages.sign_in import start_page

MESSAGES_SHOWN = 10

register_page(
    PageEntry(
        name="Home",
        url_name="pages:home",
        icon="home",
        text="Messages, and what you can open.",
        order=0,
        count=lambda user: Notification.objects.visible_to(user).unread().count(),
        count_means="unread",
    )
)


class StartView(View):
    """GET / sends staff to the back-office, others to their pages, and strangers to the sign-in page."""

    def get(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        return redirect(start_page(user) if isinstance(user, User) else reverse("pages:sign_in"))


class HomePage(PageView):
    """GET /home/"""

    template_name = "core/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        own = Notification.objects.visible_to(self.actor)
        return super().get_context_data(
            pages=[link for link in page_links(self.request) if not link.current],
            notifications=own[:MESSAGES_SHOWN],
            any_unread=own.unread().exists(),
            **kwargs,
        )


class ReadAllView(PageMixin):
    """POST /home/read/ marks all of one's own messages as read."""

    def post(self, request: HttpRequest) -> HttpResponse:
        count = Notification.objects.visible_to(self.actor).unread().update(read_at=clock.now())
        messages = "1 message" if count == 1 else f"{count} messages"
        return self.done(f"{messages} marked as read.", reverse("pages:home"))
