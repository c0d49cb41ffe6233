"""pytest alone: there is no broker, and no fixture."""
