"""What only the store in memory does: it catches use cases that would hold a transaction where they must not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from certctl_adapters.memory import MemoryStore, NestedWork, PortCalledInTransaction


class TestMemoryStore:
    def test_a_port_that_is_called_in_a_transaction_is_found_out(self) -> None:
        store = MemoryStore()
        with store.work():
            assert store.in_transaction
            with pytest.raises(PortCalledInTransaction, match="the issuer"):
                store.guard("the issuer")
        assert not store.in_transaction
        store.guard("the issuer")

    def test_a_transaction_of_another_thread_is_none_of_ours(self) -> None:
        store = MemoryStore()
        with store.work(), ThreadPoolExecutor(1) as threads:
            assert threads.submit(lambda: store.in_transaction).result(10) is False
            threads.submit(store.guard).result(10)

    def test_work_never_nests(self) -> None:
        store = MemoryStore()
        with store.work():
            with pytest.raises(NestedWork), store.work():
                pass
            assert store.in_transaction
