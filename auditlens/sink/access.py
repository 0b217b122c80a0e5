"""Who may write, and which cluster's history: tokens and client names, each bound to clusters by globs, reloaded on change.

A file has one credential a line, a token or a client certificate's name, then the clusters it may write, `*` when none:

    # comment
    6b1f…                    lab,prod-*
    apiserver.prod.example   prod-eu
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from auditlens.errors import AuditlensError, UsageError

CLUSTER = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_GLOB = re.compile(r"[a-z0-9.*?-]{1,63}")
_SHORTEST = 16  # characters of a token; a shorter one can be guessed


@dataclass(frozen=True, slots=True)
class Credential:
    """One line of a file: the digest of a token or a name, and the globs of the clusters it may write."""

    digest: bytes
    clusters: tuple[str, ...]

    @property
    def own(self) -> str | None:
        """The one cluster it is for, if it names exactly one."""
        name = self.clusters[0] if len(self.clusters) == 1 else "*"
        return name if CLUSTER.fullmatch(name) else None

    def may_write(self, cluster: str) -> bool:
        """Whether one of its globs fits."""
        return any(fnmatchcase(cluster, glob) for glob in self.clusters)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request may do: write `cluster`, or `status` says why not."""

    status: int
    cluster: str | None = None
    why: str = ""


class CredentialFile:
    """The credentials of one file; reload() reads it again when it has changed."""

    def __init__(self, path: Path, *, tokens: bool) -> None:
        self._path, self._tokens = path, tokens
        self._stamp: tuple[int, ...] = ()
        self._known: list[Credential] = []
        self.reload()

    def reload(self) -> bool:
        """Whether it was read again. Raises UsageError, and keeps what it had, when it cannot be used."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if stamp == self._stamp:
                return False
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(f"{self._path}: cannot be read: {e}") from e
        self._stamp = stamp
        self._known = [self._line(line, n) for n, line in enumerate(text.splitlines(), 1) if line.split("#")[0].strip()]
        return True

    def _line(self, line: str, number: int) -> Credential:
        name, *rest = line.split("#")[0].split(None, 1)
        globs = tuple(g.strip() for g in rest[0].split(",") if g.strip()) if rest else ("*",)
        where = f"{self._path}:{number}"
        if self._tokens and len(name) < _SHORTEST:
            raise UsageError(f"{where}: the token has {len(name)} characters, needs {_SHORTEST} (make one: openssl rand -hex 32)")
        for glob in globs:
            if not _GLOB.fullmatch(glob):
                raise UsageError(f"{where}: {glob!r} is no cluster name or glob; use a-z, 0-9, '.', '-', '*' and '?'")
        return Credential(_digest(name), globs)

    def find(self, name: str) -> Credential | None:
        """The credential of this token or name; takes as long whether and wherever it matches."""
        digest, found = _digest(name), None
        for known in self._known:
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class Access:
    """Judges a request by its headers and its connection's certificate; every configured kind of credential is required."""

    def __init__(
        self, *, token_file: Path | None = None, client_names: Path | None = None, need_certificate: bool = False, default: str
    ) -> None:
        self._tokens = CredentialFile(token_file, tokens=True) if token_file else None
        self._names = CredentialFile(client_names, tokens=False) if client_names else None
        self._need_certificate = need_certificate or client_names is not None
        self._default = default

    def judge(self, authorization: str, certificate: Sequence[str] | None, cluster: str | None) -> Verdict:
        """The verdict on a request to write `cluster`; None leaves it to the credential, then to the default."""
        held: list[Credential] = []
        if self._need_certificate and certificate is None:
            return Verdict(401, why="no client certificate")
        if self._names:
            found = [c for name in certificate or () if (c := self._names.find(name))]
            if not found:
                return Verdict(403, why="the certificate's name is not in the list of client names")
            held.append(Credential(b"", tuple(g for c in found for g in c.clusters)))
        if self._tokens:
            scheme, _, token = authorization.partition(" ")
            bearer = self._tokens.find(token.strip()) if scheme.lower() == "bearer" else None
            if bearer is None:
                return Verdict(401, why="no valid bearer token")
            held.append(bearer)
        named = cluster or next((c.own for c in held if c.own), None) or self._default
        if not all(c.may_write(named) for c in held):
            return Verdict(403, why=f"the credential may not write cluster {named}")
        return Verdict(200, named)

    def reload(self, say: Callable[[str], None]) -> None:
        """Read changed files again; one that cannot be used is said, and what was there before stays."""
        for file in (self._tokens, self._names):
            try:
                if file and file.reload():
                    say("credentials reloaded")
            except UsageError as e:
                say(str(e))


class Tls:
    """The server's TLS contexts: a new one for new connections whenever a file has changed."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._files = [cert, key, *([client_ca] if client_ca else [])]
        self._cert, self._key, self._ca = cert, key, client_ca
        self._stamp: list[tuple[int, ...]] = []
        self.context = self._make()

    def _make(self) -> ssl.SSLContext:
        self._stamp = self._stamps()
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])  # kube-apiserver offers h2 and takes what it is given
            context.options |= ssl.OP_NO_RENEGOTIATION
            context.load_cert_chain(self._cert, self._key)
            if self._ca:
                # Optional here, required for /audit: a kubelet's probe has no certificate. A wrong one ends the handshake.
                context.verify_mode = ssl.CERT_OPTIONAL
                context.load_verify_locations(self._ca)
        except (OSError, ssl.SSLError) as e:
            raise UsageError(f"TLS: {', '.join(map(str, self._files))}: {e}") from e
        return context

    def _stamps(self) -> list[tuple[int, ...]]:
        try:
            return [(s.st_mtime_ns, s.st_ino, s.st_size) for s in (f.stat() for f in self._files)]
        except OSError as e:
            raise UsageError(f"{e.filename}: {e.strerror}") from e

    def reload(self, say: Callable[[str], None]) -> None:
        """Make a new context if a file has changed; one that cannot be used is said, and the old context stays."""
        try:
            if self._stamps() != self._stamp:
                self.context = self._make()
                say("TLS certificates reloaded")
        except AuditlensError as e:
            say(str(e))


def certificate_names(ssl_object: Any) -> tuple[str, ...] | None:
    """The names in the client's verified certificate: common name, DNS and URI; None when it showed none."""
    found = ssl_object.getpeercert() if ssl_object else None
    if not found:
        return None
    names = [value for part in found.get("subject", ()) for key, value in part if key == "commonName"]
    names += [value for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "URI")]
    return tuple(dict.fromkeys(names))
