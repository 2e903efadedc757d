"""The OpenAPI document and its page, all from this server: they work offline."""

from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation


class SchemaView(SpectacularAPIView):
    """GET /api/schema: OpenAPI 3 as JSON; as YAML by Accept or `?format=yaml`."""

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2]


class DocsView(SpectacularSwaggerSplitView):
    """GET /docs: Swagger UI; its script is a request of its own, so that no page needs inline scripts."""

    content_negotiation_class = DefaultContentNegotiation
