"""An image is built anew when something it is made of changes, and only then."""

from pathlib import Path, PurePosixPath

from .build_context import content_hash, copied, ignores

DOCKERFILE = """\
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE} AS build
COPY --chown=1:1 pyproject.toml src/ \\
     /build/
ADD ["data file", "/data"]
FROM ${BASE_IMAGE}
COPY --from=build /build /usr/lib/x
"""


def test_the_sources_of_copy_and_add_are_found_but_not_those_of_other_stages():
    assert copied(DOCKERFILE) == ["pyproject.toml", "src/", "data file"]


def test_the_last_matching_ignore_rule_decides():
    rules = [("*", False), ("src", True), ("**/__pycache__", False)]
    assert not ignores(rules, PurePosixPath("src/a.py"))
    assert ignores(rules, PurePosixPath("src/deep/__pycache__/a.pyc"))
    assert ignores(rules, PurePosixPath("docs/a.md"))


def test_the_hash_follows_what_is_copied_and_nothing_else(tmp_path: Path):
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    files = {
        "Dockerfile": DOCKERFILE,
        ".dockerignore": "**/__pycache__\n",
        "pyproject.toml": "p",
        "src/a.py": "a",
        "data file": "d",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def current(*more: str) -> str:
        return content_hash(tmp_path / "Dockerfile", tmp_path, *more)

    first = current()
    (tmp_path / "README.md").write_text("not copied")
    (tmp_path / "src/__pycache__/a.pyc").write_text("ignored")
    assert current() == first
    seen = {first, current("another base image")}
    for name in files.keys() - {".dockerignore"}:
        (tmp_path / name).write_text(files[name] + "\n# changed")
        seen.add(current())
    (tmp_path / "src/a.py").chmod(0o755)
    seen.add(current())
    (tmp_path / "src/b.py").touch()
    seen.add(current())
    assert len(seen) == 8
