"""Settings by environment: `base` is common, then `development`, `test` or `production`."""
