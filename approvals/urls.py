"""Addresses of the approvals' pages."""

from django.urls import path

from approvals.views import decide, delegations, history, inbox, links, mails, own, request

app_name = "approvals"
urlpatterns = [
    path("", inbox.InboxPage.as_view(), name="inbox"),
    path("bulk/", inbox.BulkPage.as_view(), name="bulk"),
    path("mine/", own.MinePage.as_view(), name="mine"),
    path("new/", own.NewPage.as_view(), name="new"),
    path("new/preview/", own.PreviewView.as_view(), name="preview"),
    path("history/", history.HistoryPage.as_view(), name="history"),
    path("delegations/", delegations.DelegationsPage.as_view(), name="delegations"),
    path("delegations/<int:pk>/end/", delegations.EndDelegationPage.as_view(), name="end_delegation"),
    path("files/<int:pk>/", request.FilePage.as_view(), name="file"),
    path("links/<str:token>/", links.LinkPage.as_view(), name="link"),
    path("mails/", mails.MailPreferencePage.as_view(), name="mails"),
    path("requests/<int:pk>/", request.RequestPage.as_view(), name="request"),
    path("requests/<int:pk>/comment/", request.CommentPage.as_view(), name="comment"),
    path("requests/<int:pk>/attach/", request.AttachPage.as_view(), name="attach"),
    path("requests/<int:pk>/approve/", decide.ApprovePage.as_view(), name="approve"),
    path("requests/<int:pk>/reject/", decide.RejectPage.as_view(), name="reject"),
    path("requests/<int:pk>/ask/", decide.AskBackPage.as_view(), name="ask"),
    path("requests/<int:pk>/pass-on/", decide.PassOnPage.as_view(), name="pass_on"),
    path("requests/<int:pk>/recall/", decide.RecallPage.as_view(), name="recall"),
    path("requests/<int:pk>/escalate/", decide.EscalatePage.as_view(), name="escalate"),
    path("requests/<int:pk>/withdraw/", decide.WithdrawPage.as_view(), name="withdraw"),
    path("requests/<int:pk>/submit/", decide.SubmitPage.as_view(), name="submit"),
    path("requests/<int:pk>/delete/", decide.DeletePage.as_view(), name="delete"),
    path("requests/<int:pk>/edit/", own.EditPage.as_view(), name="edit"),
]
