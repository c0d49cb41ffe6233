"""A garden irrigation service: another service than the camera detector, written another way."""
