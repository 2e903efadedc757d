"""The approvers' and requesters' pages at /approvals/. They ask services and selectors; no rule stands here."""
