import threading

import pytest
from sqlalchemy import text

from stallwart.core.errors import StoreError
from stallwart.store.board import Board
from stallwart.store.database import writing
from tests.store.reviewing import add, asked
from tests.store.rolling import NOW


class Behind:
    """Work that was begun behind somebody's back."""

    def __init__(self):
        self.waits = []

    def __call__(self, work):
        self.waits.append(work)

    def run(self):
        self.waits.pop()()


@pytest.fixture
def behind():
    return Behind()


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def board(database, behind, clock):
    return Board(database, lambda: clock[0], fresh_ms=5, stale_ms=100, start=behind)


def waiting(board):
    found = board.latest()
    return sum(one.waiting for one in found.counts), found.at_ms


def test_a_count_is_shown_while_it_is_made_anew(database, board, behind, clock):
    add(database, asked(1))
    assert waiting(board) == (1, NOW)
    add(database, asked(2))
    clock[0] += 5
    assert waiting(board) == (1, NOW)
    assert behind.waits == []
    clock[0] += 1
    assert waiting(board) == (1, NOW)
    assert waiting(board) == (1, NOW)
    assert len(behind.waits) == 1, "once, however many ask"
    behind.run()
    assert waiting(board) == (2, NOW + 6)
    clock[0] += 100
    assert waiting(board) == (2, NOW + 6)
    assert len(behind.waits) == 1


def test_a_count_that_is_too_old_is_not_shown(database, board, clock):
    assert waiting(board) == (0, NOW)
    add(database, asked(1))
    clock[0] += 101
    assert waiting(board) == (1, NOW + 101)


def test_a_count_that_fails_behind_somebody_s_back_is_made_again(database, board, behind, clock):
    add(database, asked(1))
    assert waiting(board) == (1, NOW)
    with writing(database) as connection:
        connection.execute(text("ALTER TABLE tasks RENAME TO away"))
    clock[0] += 6
    waiting(board)
    behind.run()
    assert waiting(board) == (1, NOW)
    assert len(behind.waits) == 1
    behind.waits.clear()
    clock[0] += 200
    with pytest.raises(StoreError, match="cannot be counted"):
        board.latest()


def test_it_counts_in_a_thread_of_its_own(database, clock):
    board = Board(database, lambda: clock[0], fresh_ms=5)
    add(database, asked(1))
    assert waiting(board) == (1, NOW)
    add(database, asked(2))
    clock[0] += 6
    assert waiting(board) == (1, NOW)
    for thread in threading.enumerate():
        if thread.name == "stallwart-board":
            thread.join(60)
    assert waiting(board) == (2, NOW + 6)
