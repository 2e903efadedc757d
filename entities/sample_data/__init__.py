"""What entities contributes to the sample group: entities, people, departments, links, allocations."""
