# SPDX-License-Identifier: Apache-2.0
"""Files that commands write: checked before the work, and whole or not there at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_folder", "check_name", "check_target", "whole", "write"]

ROOM = 4 << 20
"""Bytes that must have room where a file will be written."""


def check_folder(folder: Path) -> Path:
    """``folder``, made if it is not there; ``ValueError`` if it is something else."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_name(name: str) -> str:
    """``name``, if it can be a file's: ``ValueError`` otherwise."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"--name must be a file name without folders, not {name!r}")
    return name


def check_target(path: Path) -> Path:
    """``path``, if a file can be written there; its folder is made.

    Raises ``ValueError`` if it is taken by something else, ``OSError`` if it may not be written or
    the disk is full.
    """
    check_folder(path.parent)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'no file'}")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    partial = _beside(path)
    try:
        with _named(path):
            _sync(partial, bytes(ROOM))
    finally:
        partial.unlink(missing_ok=True)
    return path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes ``path`` when the block ends well, and vanishes otherwise."""
    partial = _beside(path)
    try:
        with _named(path):
            yield partial
            _sync(partial)
            partial.replace(path.resolve())
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def _beside(path: Path) -> Path:
    """Name of a file on its way to ``path``, or to what that is a link to."""
    target = path.resolve()
    # Two runs that write the same file do not take each other's half of it.
    return target.with_name(f"{target.name}.{os.getpid()}.part")


def _sync(path: Path, content: bytes = b"") -> None:
    """Append ``content``; return when the disk has all of the file."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the system name ``path``: those of a full disk name no file at all."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
