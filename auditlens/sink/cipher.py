"""What waits in the WAL is encrypted: who gets its disk or a backup of it learns sizes and times, no word of a post.

AES-256-GCM. The key of a segment follows (HKDF) from the lake's redaction key and the random key in the segment's name;
the nonce of a record is its number in the segment. No segment is written to by two processes, or after a failed write,
so no pair of key and nonce comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditlens.redact import Redactor

TAG = 16  # bytes, behind what is encrypted
_PURPOSE = b"auditlens WAL segment"


class SegmentCipher:
    """Encrypts and decrypts the records of one segment."""

    def __init__(self, key: bytes) -> None:
        self._key, self._aead = key, AESGCM(key)

    def encrypt(self, number: int, parts: Sequence[bytes], frame: bytes) -> list[bytes]:
        """The parts encrypted one by one, that no copy of the whole is needed, and the tag, which covers `frame` too."""
        encryptor = Cipher(algorithms.AES(self._key), modes.GCM(_nonce(number))).encryptor()
        encryptor.authenticate_additional_data(frame)
        out = [encryptor.update(part) for part in parts]
        encryptor.finalize()
        return [*out, encryptor.tag]

    def decrypt(self, number: int, content: memoryview, frame: memoryview) -> bytes | None:
        """What was encrypted; None when a bit of it, its number or its frame is another."""
        try:
            return self._aead.decrypt(_nonce(number), content, frame)
        except InvalidTag:
            return None


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")


class Vault:
    """The ciphers of the segments of a lake's sinks. `id` names the redaction key that they follow from."""

    def __init__(self, redactor: Redactor) -> None:
        self.id, self._derived = redactor.key_id, redactor.derived

    def cipher(self, salt: bytes) -> SegmentCipher:
        """The cipher of the segment with this random key in its name."""
        return SegmentCipher(self._derived(_PURPOSE, salt))


def vault(redact: bool, key_file: Path | None, say: Callable[[str], None] = lambda text: None) -> Vault | None:
    """The vault of the redaction key; without redaction that of a key that is there, else none, and that is said."""
    redactor = Redactor.from_config(key_file) if redact else Redactor.if_configured(key_file)
    if redactor is None:
        say("without a redaction key the WAL holds what is posted in clear until it is drained; --redact-key encrypts it")
        return None
    return Vault(redactor)
