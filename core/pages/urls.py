"""Addresses of core's pages."""

from django.urls import path

from core.pages.home import HomePage, ReadAllView, StartView
from core.pages.sign_in import SignInPage, SignOutPage, ThemeView

app_name = "pages"
urlpatterns = [
    path("", StartView.as_view(), name="start"),
    path("home/", HomePage.as_view(), name="home"),
    path("home/read/", ReadAllView.as_view(), name="read_all"),
    path("sign-in/", SignInPage.as_view(), name="sign_in"),
    path("sign-out/", SignOutPage.as_view(), name="sign_out"),
    path("theme/", ThemeView.as_view(), name="theme"),
]
