"""The Prometheus metrics of this process, for whoever knows the token when one is set."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.utils.crypto import constant_time_compare
from django_prometheus.exports import ExportToDjangoView


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics in Prometheus' text format; with METRICS_TOKEN set only for `Bearer <token>`."""
    token = settings.METRICS_TOKEN
    if token and not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
        return HttpResponseForbidden("The metrics need the bearer token of METRICS_TOKEN.\n", content_type="text/plain")
    answer: HttpResponse = ExportToDjangoView(request)
    return answer
