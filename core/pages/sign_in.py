"""Signing in and out, for everybody; and light or dark, remembered in a cookie."""

from http import HTTPStatus
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.generic import View

from core.api.throttling import CounterAway, SignInThrottle
from core.models import User
from core.pages.navigation import first_page

THEME_COOKIE = "theme"
THEMES = ("light", "dark")
_A_YEAR = 365 * 24 * 60 * 60


def start_page(user: User) -> str:
    """Return where somebody begins: staff in the back-office, others at their pages."""
    return reverse("admin:index") if user.is_staff else first_page(user)


def safe_next(request: HttpRequest, address: str) -> str:
    """Return the address if it is a page of this site and neither signs in nor out, else nothing."""
    safe = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    signs = (reverse("pages:sign_in"), reverse("pages:sign_out"))
    return address if safe and not any(sign in address.partition("?")[0] for sign in signs) else ""


class SignInForm(AuthenticationForm):
    """A name and a password, of a person."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    error_messages = {
        "invalid_login": "No active user has this name and password. Capitals matter in the password.",
        "inactive": "No active user has this name and password. Capitals matter in the password.",
        "service_account": "This is a service account: it calls the API with a token and cannot open pages.",
    }

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if user.is_service_account:
            raise ValidationError(self.error_messages["service_account"], code="service_account")


class SignInPage(LoginView):
    """GET and POST /sign-in/"""

    template_name = "core/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        return safe_next(self.request, super().get_redirect_url())

    def get_default_redirect_url(self) -> str:
        user = self.request.user
        assert isinstance(user, User)
        return start_page(user)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        throttle = SignInThrottle()
        try:
            allowed = throttle.allow_request(request, self)  # type: ignore[arg-type]  # it reads META only
        except CounterAway as problem:
            return self._not_now(HTTPStatus.SERVICE_UNAVAILABLE, str(problem.detail), problem.wait)
        if not allowed:
            wait = int(throttle.wait())
            text = f"Too many attempts from your address. Try again in {wait} seconds."
            return self._not_now(HTTPStatus.TOO_MANY_REQUESTS, text, wait)
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: forms.BaseForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=HTTPStatus.BAD_REQUEST)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown = [
            *(getattr(settings, "DEMO_SIGN_INS", None) or []),
            *(getattr(settings, "DEMO_PAGE_SIGN_INS", None) or []),
        ]
        return super().get_context_data(demo_sign_ins=shown, **kwargs)

    def _not_now(self, status: int, text: str, wait: int) -> HttpResponse:
        context = self.get_context_data(form=self.authentication_form(self.request), not_now=text)
        return self.render_to_response(context, status=status, headers={"Retry-After": str(wait)})


@method_decorator(never_cache, name="dispatch")
class SignOutPage(LogoutView):
    """POST /sign-out/ signs out; GET asks first."""

    http_method_names = ["get", "post", "options"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect("pages:sign_in")
        response = render(request, "core/sign_out.html")
        patch_cache_control(response, private=True, no_store=True)
        return response

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        super().post(request, *args, **kwargs)
        messages.success(request, "You are signed out.")
        return redirect("pages:sign_in")


class ThemeView(View):
    """POST /theme/ remembers light or dark in this browser; anything else forgets it: the system decides."""

    def post(self, request: HttpRequest) -> HttpResponse:
        response = redirect(safe_next(request, request.POST.get("next", "")) or "pages:start")
        theme = request.POST.get("theme", "")
        if theme in THEMES:
            response.set_cookie(
                THEME_COOKIE,
                theme,
                max_age=_A_YEAR,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        else:
            response.delete_cookie(THEME_COOKIE, samesite="Lax")
        return response
