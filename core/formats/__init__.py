"""How dates and times are written, where Django's own way is wider than a column should be."""
