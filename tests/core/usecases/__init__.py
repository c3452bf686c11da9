"""The use cases over the in-memory store and a CA of the tests."""
