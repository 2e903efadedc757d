"""Addresses of the customers' pages of disputes."""

from django.urls import path

from disputes.views import pages

app_name = "disputes"
urlpatterns = [
    path("", pages.ListPage.as_view(), name="list"),
    path("new/", pages.ChoosePage.as_view(), name="choose"),
    path("new/<int:invoice_id>/", pages.ChoosePage.as_view(), name="choose_line"),
    path("new/<int:invoice_id>/whole/", pages.OpenPage.as_view(), name="open_whole"),
    path("new/<int:invoice_id>/<int:line_id>/", pages.OpenPage.as_view(), name="open_line"),
    path("files/<int:pk>/", pages.FilePage.as_view(), name="file"),
    path("<int:pk>/", pages.DisputePage.as_view(), name="dispute"),
    path("<int:pk>/say/", pages.SayPage.as_view(), name="say"),
    path("<int:pk>/attach/", pages.AttachPage.as_view(), name="attach"),
    path("<int:pk>/withdraw/", pages.WithdrawPage.as_view(), name="withdraw"),
    path("<int:pk>/reopen/", pages.ReopenPage.as_view(), name="reopen"),
    path("<int:pk>/close/", pages.ClosePage.as_view(), name="close"),
]
