"""What an image is built from, as a hash: its Dockerfile and the files of the context that it copies."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def content_hash(dockerfile: Path, context: Path, *more: str) -> str:
    """Hash of the Dockerfile, of all files it copies or adds from `context` (name, mode, bytes), and of `more`."""
    text = dockerfile.read_text()
    digest = hashlib.sha256("\0".join((text, *more)).encode())
    ignored = _ignore_rules(context)
    for source in sorted(set(copied(text))):
        # A source that is not there fails in the build, whose message names it.
        for file in sorted(_files(context, source, ignored)):
            path = context / file
            digest.update(f"\0{file}\0{path.lstat().st_mode:o}\0".encode())
            digest.update(str(path.readlink()).encode() if path.is_symlink() else path.read_bytes())
    return digest.hexdigest()[:24]


def copied(text: str) -> list[str]:
    """The sources of COPY and ADD that come from the context (not from another stage)."""
    found = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction.upper() not in ("COPY", "ADD"):
            continue
        rest = rest.strip()
        words = shlex.split(rest)
        flags = [word for word in words if word.startswith("--")]
        words = [word for word in words if not word.startswith("--")]
        if any(flag.startswith("--from=") for flag in flags):
            continue
        if rest.startswith("["):
            words = json.loads(rest)
        found += words[:-1]
    return found


def _ignore_rules(context: Path) -> list[tuple[str, bool]]:
    file = context / ".dockerignore"
    if not file.exists():
        return []
    lines = [line.strip() for line in file.read_text().splitlines()]
    return [(line.lstrip("!").strip("/"), line.startswith("!")) for line in lines if line and not line.startswith("#")]


def ignores(rules: list[tuple[str, bool]], path: PurePosixPath) -> bool:
    """Whether .dockerignore leaves a file out: the last rule that matches it or a folder above it decides."""
    names = [str(path), *map(str, list(path.parents)[:-1])]
    out = False
    for pattern, keep in rules:
        short = pattern.removeprefix("**/")
        matches = any(fnmatch.fnmatchcase(name, pattern) for name in names)
        if short != pattern:
            matches = matches or any(fnmatch.fnmatchcase(part, short) for part in path.parts)
        if matches:
            out = not keep
    return out


def _files(context: Path, source: str, rules: list[tuple[str, bool]]) -> Iterator[PurePosixPath]:
    for match in context.glob(source.lstrip("/").removeprefix("./") or ".") if source not in (".", "./") else [context]:
        inside = match.rglob("*") if match.is_dir() and not match.is_symlink() else [match]
        for path in inside:
            relative = PurePosixPath(path.relative_to(context))
            if (path.is_symlink() or path.is_file()) and not ignores(rules, relative):
                yield relative
