"""Wiring of Enterprise Billing: settings, URLs, Celery, servers. Nothing imports it but the entry points."""

from billing_project.celery import app as celery_app

__all__ = ["celery_app"]
