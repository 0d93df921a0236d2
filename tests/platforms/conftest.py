"""What the tests of platforms share: a directory that Postgres' user can reach, and programs that end with the test."""

import contextlib
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="rejoinder-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def started():
    """Whatever is put in here is killed when the test is over, the last one first."""
    programs = []
    yield programs
    for program in reversed(programs):
        with contextlib.suppress(OSError):
            program.kill()
