"""Days in query parameters."""

import datetime

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from core.errors import FieldProblem, Invalid

DAY = OpenApiParameter("on", OpenApiTypes.DATE, description="The day; today by default.")


def day_parameter(request: Request, name: str) -> datetime.date | None:
    """The day that a query parameter names, or None. Raises Invalid for anything else."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        detail = "Give a day such as 2027-01-31."
        raise Invalid("invalid", detail, errors=[FieldProblem(f"/{name}", "invalid", detail)]) from error
