"""A store in memory that keeps the contract of the real one: for tests, examples and trying things out."""

from certctl_adapters.memory.store import MemoryStore, NestedWork, PortCalledInTransaction

__all__ = ["MemoryStore", "NestedWork", "PortCalledInTransaction"]
