"""A camera detector as such services are commonly written, habits included."""
