# SPDX-License-Identifier: Apache-2.0
"""``phasecore fetch mnist``: download the MNIST files and check them."""

import argparse
import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.models.training.datasets import MNIST_FILES, DataError, MnistFile

__all__ = ["MIRRORS", "add_parser", "fetch", "mismatch", "run"]

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT_SECONDS = 30


OPTIONS = ("out",)

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fetch mnist",
        help="download MNIST and check its checksums",
        description=(
            "Download the four MNIST files from public mirrors into the folder given with --out,"
            " and check them against the known checksums. Files that are there are only checked."
        ),
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    folder: Path | None = args.out
    if folder is None:
        raise DataError("--out must name the folder for the MNIST files")
    files.check_folder(folder)
    report = {}
    for file in MNIST_FILES.values():
        report[file.name] = fetch(file, folder)
        log.info("%s.gz: %s", file.name, report[file.name])
    return {"out": str(folder), "files": report}


def fetch(file: MnistFile, folder: Path, mirrors: Sequence[str] = MIRRORS) -> str:
    """Make sure that ``folder`` holds the .gz of ``file``: ``"present"`` or the mirror used."""
    target = folder / f"{file.name}.gz"
    if target.exists():
        problem = mismatch(file, target.read_bytes())
        if problem:
            raise DataError(f"{target} {problem}: delete it and try again")
        return "present"
    problems = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(f"{mirror}{target.name}", timeout=TIMEOUT_SECONDS) as reply:
                content = reply.read()
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            problems.append(f"{mirror}: {getattr(error, 'reason', error)}")
            continue
        problem = mismatch(file, content)
        if problem:
            problems.append(f"{mirror}: {target.name} {problem}")
            continue
        files.write(target, content)
        return mirror
    raise DataError(
        f"no mirror gave {target.name} ({'; '.join(problems)}); without a network, copy the four"
        f" MNIST .gz files into {folder} yourself, or train on the built-in digits"
    )


def mismatch(file: MnistFile, content: bytes) -> str:
    """What is wrong with the checksums of a .gz file, empty if nothing is."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != file.md5_gz:
        return f"has md5 {md5}, not {file.md5_gz}"
    sha256 = hashlib.sha256(content).hexdigest()
    return "" if sha256 == file.sha256_gz else f"has sha256 {sha256}, not {file.sha256_gz}"
