"""Which memberships reach a place, as SQL for the statements of the busiest paths (ENT-04).

The same as ``entities.access`` says with querysets; tests compare both.
"""


def reaches(entity: str, department: str) -> str:
    """The condition on a membership ``m``: in force on ``%(today)s``, and it reaches the place of these columns."""
    return f"""
    (m.valid_from IS NULL OR m.valid_from <= %(today)s::date)
    AND (m.valid_to IS NULL OR m.valid_to > %(today)s::date)
    AND (
      (m.department_id IS NULL AND (m.entity_id = {entity} OR (m.include_descendants AND EXISTS (
          SELECT 1 FROM entity_closure c WHERE c.descendant_id = {entity} AND c.ancestor_id = m.entity_id))))
      OR m.department_id = {department}
      OR (m.department_id IS NOT NULL AND m.include_descendants AND EXISTS (
          SELECT 1 FROM department_closure c
          WHERE c.descendant_id = {department} AND c.ancestor_id = m.department_id))
    )"""


def holds(user: str, roles: str, entity: str, department: str) -> str:
    """Whether a user has one of the roles at the place; ``roles`` is the name of a parameter, a list of texts."""
    return (
        f"EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = {user} AND m.role = ANY(%({roles})s::text[])"
        f" AND {reaches(entity, department)})"
    )
