"""Where a file system cannot lock, that is said; reading works without."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from ragcore.disk.atomic import lock_shared, locked, try_lock
from ragcore.errors import StoreError


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.EBADF])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("without_locks")
def test_what_needs_a_lock_says_that_there_is_none(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(StoreError, match=r"its file system cannot lock it .*local disk"):
        try_lock(tmp_path)
    with pytest.raises(StoreError, match="cannot lock it"), locked(tmp_path / "lock"):
        pytest.fail("it went on without the lock")
    assert lock_shared(tmp_path) is None
    assert descriptors() == before


def test_another_error_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="broken disk"):
        try_lock(tmp_path)
