"""The sample group "Tarnholm", loaded by `manage.py initialize_enterprise_billing`.

Each app contributes what is its own in `<app>/sample_data/steps.py`, a list `STEPS`; `core.sample_data.run`
runs them from the lowest app to the highest. An app names records of the apps below by code and user name.
"""
