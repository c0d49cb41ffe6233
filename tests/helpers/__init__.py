"""What only this repository's tests need: a service to test and a network to test it on."""
