"""A real mosquitto for a pytest session, or a broker that runs already."""
