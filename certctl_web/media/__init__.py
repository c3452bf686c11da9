"""The wire: the one place where JSON and query strings become typed objects, and facts become JSON.

Classes here carry exactly the names of the wire contract. A class that is sent has `of(fact)`; a class that is received
has `wish()`, which makes what a use case is asked for. `reading`, `writing` and `bounds` hold the
rules of the format itself.
"""
