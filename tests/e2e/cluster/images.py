"""Builds the container images from the project's Dockerfiles with buildah and hands them to the cluster's containerd.

The Dockerfiles build with Docker elsewhere as they are: what a machine without registry needs comes in through the build
arguments BASE_IMAGE and PIP_CERT.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import containers, host, packages, processes
from .binaries import CACHE
from .build_context import content_hash
from .cluster import SETTINGS

BASE = "localhost/debian:bookworm"
_STORE = CACHE / "images"
_CONTENT = "appstatus.dev/content"  # label: hash of what an image was built from
_LAYERS_BYTES = 15 * 2**30
_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


class ImageError(RuntimeError):
    """An image could not be built; the message names it and its log."""


@dataclass(frozen=True)
class Image:
    name: str
    dockerfile: Path
    context: Path


def images() -> list[Image]:
    """Every image of the project. The operator and the agent see the repository, all others the Dockerfile's folder."""
    root, here = host.CHECKOUT, Path(__file__).parent
    found = [
        Image("localhost/appstatus-operator:dev", root / "operator" / "Dockerfile", root),
        Image("localhost/appstatus-agent:dev", root / "node_agent" / "Dockerfile", root),
        Image("localhost/prometheus:dev", here / "images" / "prometheus" / "Dockerfile", here / "images" / "prometheus"),
    ]
    for dockerfile in sorted((root / "tests/e2e/shop/images").glob("*/Dockerfile")):
        found.append(Image(f"localhost/shop-{dockerfile.parent.name}:dev", dockerfile, dockerfile.parent))
    return found


def build(only: list[str]) -> None:
    """Builds what has changed and imports it. `only`: words, of which one must be in an image's name; none = all."""
    if os.geteuid() != 0:
        raise ImageError("building images needs root")
    wanted = [image for image in images() if not only or any(word in image.name for word in only)]
    if not wanted:
        raise ImageError(f"no image is named like {' or '.join(only)}: {', '.join(image.name for image in images())}")
    absent = [image for image in wanted if not image.dockerfile.exists()]
    if absent:
        raise ImageError("no such file: " + ", ".join(str(image.dockerfile) for image in absent))
    packages.ensure()
    host.check_free(Path(SETTINGS.kubelet_root))
    with host.lock(), containers.daemon(SETTINGS):
        base = _base()
        for image in wanted:
            _provide(image, base)
    _limit_cache()


def _provide(image: Image, base: str) -> None:
    started = time.monotonic()
    content = content_hash(image.dockerfile, image.context, base)
    done = "unchanged"
    if not containers.has_image(SETTINGS, image.name, content):
        if _label(image.name) != content:
            _bud(image.name, image.dockerfile, image.context, content)
            done = "built and imported"
        else:
            done = "imported"
        archive = _STORE / "export.tar"
        archive.unlink(missing_ok=True)
        _buildah("push", "--quiet", image.name, f"docker-archive:{archive}:{image.name}", log="push")
        containers.import_image(SETTINGS, archive, image.name, content)
        archive.unlink()
    print(f"{image.name}: {done}, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _limit_cache() -> None:
    """Every build leaves its layers for the next; beyond a size it is cheaper to build once from the start."""
    shown = subprocess.run(["du", "-sb", str(_STORE / "buildah")], capture_output=True, text=True).stdout
    size = int(shown.split()[0])
    if size > _LAYERS_BYTES:
        print(f"the layers of earlier builds take {size / 2**30:.0f} GiB and are removed", file=sys.stderr, flush=True)
        _buildah("rmi", "--prune", "--force", log="prune")


def _base() -> str:
    """Makes the Debian base image if need be; returns its content label."""
    mirror = _mirror()
    content = f"bookworm-2-{os.uname().machine}"
    if _label(BASE) == content:
        return content
    started = time.monotonic()
    print(f"{BASE}: debootstrap from {mirror or 'the default mirror'}, about 45 s", file=sys.stderr, flush=True)
    folder = _STORE / "base"
    root = folder / "rootfs"
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)
    folder.mkdir(parents=True)
    _logged(["debootstrap", "--variant=minbase", "bookworm", str(root), *([mirror] if mirror else [])], "debootstrap")
    for source in Path("/etc/apt/sources.list.d").glob("debian.sources"):  # security and updates, as on this machine
        (root / "etc/apt/sources.list").unlink(missing_ok=True)
        shutil.copy(source, root / "etc/apt/sources.list.d" / source.name)
    for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / unneeded)
        (root / unneeded / "partial").mkdir(parents=True)
    # dpkg syncs every file otherwise, which is most of the time an image build takes.
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    _logged(["tar", "-C", str(root), "-cf", str(folder / "rootfs.tar"), "."], "debootstrap")
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)
    (folder / "Dockerfile").write_text('FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n')
    _bud(BASE, folder / "Dockerfile", folder, content)
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    print(f"{BASE}: built, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return content


def _mirror() -> str:
    """The Debian mirror this machine installs from, empty if it is no Debian machine."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(SITE)", "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
        origin, release, site = line.split(" ", 2)
        if (origin, release) == ("Debian", "bookworm"):
            return site
    return ""


def _bud(name: str, dockerfile: Path, context: Path, content: str) -> None:
    archives = _STORE / "apt"  # packages are downloaded once for all builds
    archives.mkdir(parents=True, exist_ok=True)
    arguments = ["--isolation", "chroot", "--layers", "--label", f"{_CONTENT}={content}", "--tag", name]
    arguments += ["--build-arg", f"BASE_IMAGE={BASE}", "--file", str(dockerfile)]
    arguments += ["--volume", f"{archives}:/var/cache/apt/archives:rw"]
    ca = next((file for file in (os.environ.get("PIP_CERT", ""), *_CA_FILES) if file and Path(file).is_file()), None)
    if ca:  # never over /etc/ssl/certs, where apt must write
        arguments += ["--volume", f"{Path(ca).resolve()}:/run/ca.crt:ro", "--build-arg", "PIP_CERT=/run/ca.crt"]
    _buildah("bud", *arguments, str(context), log=name.split("/")[1].split(":")[0])


def _label(name: str) -> str:
    """The content label of an image in buildah's store, empty if there is none."""
    template = f'{{{{index .OCIv1.Config.Labels "{_CONTENT}"}}}}'
    command = [*_buildah_command(), "inspect", "--type", "image", "--format", template, name]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _buildah_command() -> list[str]:
    folders = ["--root", str(_STORE / "buildah"), "--runroot", "/run/appstatus-buildah"]
    return ["buildah", "--storage-driver", "overlay", *folders]


def _buildah(*arguments: str, log: str) -> None:
    _logged(["nice", "-n", "5", *_buildah_command(), *arguments], log)


def _logged(command: list[str], log: str) -> None:
    file = CACHE / "logs" / f"image-{log}.log"
    code = processes.run_logged(log, command, file)
    if code:
        raise ImageError(f"{' '.join(command)} ended with {code}; log: {file}\n{processes.log_tail(file, 25)}")
