"""A client on loan behaves as a plain paho client does: every behaviour, twice, compared.

A *behaviour* drives clients that it is given the means to make, and a recorder notes what their
callbacks saw and what their methods returned. Each runs against an empty broker with plain
clients, that connect to it directly, and against another one with clients on loan, that are told
to connect to an address where nothing listens. The two recordings have to be equal, in every
combination of protocol and callback API that the installed paho speaks.
"""
