"""Routes without a trailing slash, the canonical form of the API."""

from rest_framework.routers import SimpleRouter


class BillingRouter(SimpleRouter):
    """`router.register("entities", EntityViewSet)` gives /entities and /entities/{id}.

    The address with a slash at its end works too; core.api.middleware takes the slash off.
    """

    def __init__(self) -> None:
        super().__init__(trailing_slash=False)
