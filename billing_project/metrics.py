"""The Prometheus metrics, for whoever knows METRICS_TOKEN, or without one for callers on this machine.

With several web processes set PROMETHEUS_MULTIPROC_DIR to an empty folder before they start: the answer then
sums them all.
"""

import ipaddress

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.utils.crypto import constant_time_compare
from django_prometheus.exports import ExportToDjangoView


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics in Prometheus' text format, or 403."""
    if not _may_measure(request):
        return HttpResponseForbidden(
            "Metrics need the bearer token METRICS_TOKEN, or a caller on this machine.\n",
            content_type="text/plain",
        )
    answer: HttpResponse = ExportToDjangoView(request)
    return answer


def _may_measure(request: HttpRequest) -> bool:
    token = settings.METRICS_TOKEN
    if token:
        return constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}")
    # Behind a proxy everybody would come from this machine.
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    address = request.META.get("REMOTE_ADDR", "")
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        # A web server that listens on a socket file gives no address.
        return not address
