"""What is run with each rival: its conftest.py, and the tests, which are copied."""
