"""What approvals contributes to the sample group: rules, limits, a delegation, and requests in every state."""
