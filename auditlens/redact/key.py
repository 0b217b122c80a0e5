"""The key of the hashes: given, in a variable, or made once for its user; what it hides can be told apart, never read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from auditlens.errors import AuditlensError


class RedactKeyError(AuditlensError, ValueError):
    """The key for redaction cannot be read, made or used; the message says which file and what to do."""


class Key:
    """Makes tokens of values. One key, one `id`; tokens of different keys never meet."""

    def __init__(self, key: bytes) -> None:
        """Refuses a key shorter than 16 bytes: the hashes of guessable values would be guessable too."""
        if len(key) < 16:
            raise RedactKeyError(f"the key has {len(key)} bytes, needs 16 (make one: openssl rand -hex 32)")
        self._key = key
        self.id: str = hashlib.sha256(b"auditlens key id\0" + key).hexdigest()[:8]

    def token(self, value: bytes) -> str:
        """`redacted:hmac:<key id>:<hash>`: the same for the same value under the same key."""
        return f"redacted:hmac:{self.id}:{hmac.digest(self._key, value, 'sha256').hex()[:32]}"

    def derived(self, purpose: bytes, salt: bytes) -> bytes:
        """A key of 32 bytes for another purpose, which tells nothing of this one (HKDF with SHA-256, RFC 5869)."""
        return hmac.digest(hmac.digest(salt, self._key, "sha256"), purpose + b"\x01", "sha256")


def configured(key_file: Path | None, env: Mapping[str, str]) -> bytes:
    """The bytes of the key that Redactor.from_config() describes."""
    given = env.get("AUDITLENS_REDACT_KEY", "").strip()
    if key_file is None and given:
        if not given.startswith(("/", "./", "../", "~")) and not Path(given).is_file():
            return given.encode()
        key_file = Path(given).expanduser()
    try:
        if key_file is None:
            key_file = _own(env)
            _make_key(key_file)
        key = key_file.read_bytes().strip()
        Key(key)
    except OSError as error:
        raise RedactKeyError(f"{key_file}: {error.strerror}; name a key with --redact-key") from error
    except RedactKeyError as error:
        raise RedactKeyError(f"{key_file}: {error}") from error
    return key


def is_configured(key_file: Path | None, env: Mapping[str, str]) -> bool:
    """Whether configured() would find a key and make none."""
    return bool(key_file or env.get("AUDITLENS_REDACT_KEY", "").strip()) or _own(env).exists()


def _own(env: Mapping[str, str]) -> Path:
    """Where the user's own key is."""
    config = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or Path.home()) / ".config")
    return Path(config) / "auditlens" / "redact.key"


def _make_key(path: Path) -> None:
    """A new random key at `path`, for its owner only, unless one is there; whole or not there at all."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, secrets.token_hex(32).encode() + b"\n")
    os.fsync(file)
    os.close(file)
    with suppress(FileExistsError):  # another process was first; its key is then the key
        os.link(draft, path)
    draft.unlink()
