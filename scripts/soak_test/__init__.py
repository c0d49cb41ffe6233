"""Minutes of what wears a test broker out, what it costs, and whether anything stays."""
