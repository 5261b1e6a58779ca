"""Batches come in order, are read while others are worked on, and errors and early ends come through."""

from __future__ import annotations

from threading import Event, get_ident

import pytest

from napari_clipmed.training.ahead import Ahead


class Slow:
    """Batches that say when and by whom they were read."""

    def __init__(self, count: int, broken_at: int = -1) -> None:
        self.count, self.broken_at = count, broken_at
        self.readers: list[int] = []
        self.third = Event()

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        for number in range(self.count):
            if number == self.broken_at:
                raise OSError("unreadable")
            self.readers.append(get_ident())
            if number == 2:
                self.third.set()
            yield number


def test_all_batches_come_in_order_every_time() -> None:
    batches = Ahead(Slow(7))
    assert len(batches) == 7
    assert list(batches) == list(batches) == list(range(7))
    assert list(Ahead(Slow(0))) == []


def test_the_next_ones_are_read_by_another_thread_while_the_first_is_in_use() -> None:
    slow = Slow(10)
    running = iter(Ahead(slow, ahead=2))
    assert next(running) == 0
    assert slow.third.wait(5), "two further batches are read without being asked for"
    assert get_ident() not in slow.readers
    running.close()
    assert len(slow.readers) < 10


def test_an_error_of_the_reader_is_raised_where_the_batch_is_asked_for() -> None:
    running = iter(Ahead(Slow(5, broken_at=3)))
    assert [next(running) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="unreadable"):
        next(running)
