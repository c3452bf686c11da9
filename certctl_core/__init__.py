"""The pure heart of certctl: facts, lives, judgements, PKI, ports and use cases.

Nothing in this package opens a socket, a file or a process, reads the clock or the environment; what it needs of
the world it asks of `certctl_core.ports`. It imports with attrs, cattrs and cryptography alone.
"""

__version__ = "0.1.0"
