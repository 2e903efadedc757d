"""The back-office: `base.py` is the base of every page and holds the guide; core's own pages are registered here."""

from core.admin import records, schedules, users, work_calendars

__all__ = ["records", "schedules", "users", "work_calendars"]
