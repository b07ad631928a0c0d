"""A certificate authority and the certificates and kubeconfigs it signs, by the openssl command."""

from __future__ import annotations

import base64
import ipaddress
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """All files lie in `directory`: ca.crt, ca.key (made if absent), and NAME.crt, NAME.key for each certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.certificate = directory / "ca.crt"
        if self.certificate.exists():
            return
        _openssl("req", "-x509", *_KEY, "-keyout", directory / "ca.key", "-out", self.certificate, "-days", "3650",
                 "-subj", "/CN=appstatus-cluster", "-addext", "keyUsage=critical,keyCertSign,digitalSignature")  # fmt: skip

    def sign(self, name: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> None:
        """A certificate for a client (`user`, `groups`) and, with `hosts` (names or addresses), also for a server."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        names = ",".join(f"{_kind(host)}:{host}" for host in hosts)
        _openssl(
            "req", "-x509", "-CA", self.certificate, "-CAkey", self.directory / "ca.key", *_KEY, "-days", "3650",
            "-keyout", self.directory / f"{name}.key", "-out", self.directory / f"{name}.crt", "-subj", subject,
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth,serverAuth",
            *(("-addext", f"subjectAltName={names}") if names else ()),
        )  # fmt: skip

    def key_pair(self, name: str) -> None:
        """A bare key pair NAME.key, NAME.pub (service account tokens)."""
        private = self.directory / f"{name}.key"
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private)
        _openssl("pkey", "-in", private, "-pubout", "-out", self.directory / f"{name}.pub")

    def kubeconfig(self, file: Path, server: str, name: str) -> Path:
        """Writes a kubeconfig (JSON, which is YAML) that logs in at the URL `server` with certificate `name`."""

        def data(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "appstatus",
                    "cluster": {"server": server, "certificate-authority-data": data(self.certificate)},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": data(self.directory / f"{name}.crt"),
                        "client-key-data": data(self.directory / f"{name}.key"),
                    },
                }
            ],
            "contexts": [{"name": "appstatus", "context": {"cluster": "appstatus", "user": name}}],
            "current-context": "appstatus",
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps(content, indent=1))
        return file


def _kind(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "DNS"
    return "IP"


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")
