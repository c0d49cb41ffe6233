"""What is seen of a service and of the slow fixture that builds it, and the wiring for that."""
