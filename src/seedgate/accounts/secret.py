"""The installation's secret: peppers keys, and seals what must be read again. It never enters the database.

A sealed text is one version byte, a random nonce of 96 bits, and what AES-256-GCM makes of the text, tag included. Its
key is derived for its purpose, and its context (such as the name of its row) is authenticated with it, so that a sealed
text cannot be moved to another place. Random nonces are good for some 2³² texts of one purpose.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seedgate.domain.errors import BadSettings, NoPermission, OperatorError
from seedgate.ids import Ids
from seedgate.store.access import installation
from seedgate.store.database import Database
from seedgate.store.operations import read_secret_check

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIN_SECRET_BYTES = 32
FILE_NAME = "secret.key"
SEALED_VERSION = b"\x01"
NONCE_BYTES, TAG_BYTES = 12, 16


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret; everything that is used is derived from it for one purpose."""

    value: bytes

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose."""
        return hmac.digest(self.value, f"seedgate {purpose}".encode(), hashlib.sha256)

    def seal(self, purpose: str, text: str, context: str) -> bytes:
        """The text, encrypted for `purpose`; only `open` with the same purpose and context reads it again."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return SEALED_VERSION + nonce + self._cipher(purpose).encrypt(nonce, _bytes(text), _bound(context))

    def open(self, purpose: str, sealed: bytes, context: str) -> str:
        """The text that was sealed. Raises OperatorError for another secret, purpose or context, or a changed byte."""
        from cryptography.exceptions import InvalidTag

        if sealed[:1] != SEALED_VERSION:
            raise OperatorError(
                "A sealed value is of a form that this version of Seedgate does not know",
                hint="Run the version that wrote it, or a newer one.",
            )
        nonce, encrypted = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if len(encrypted) >= TAG_BYTES:
            with contextlib.suppress(InvalidTag):
                return self._cipher(purpose).decrypt(nonce, encrypted, _bound(context)).decode("utf-8", "surrogatepass")
        raise OperatorError(
            "A sealed value cannot be opened: it was sealed with another secret or for another place, or was changed",
            hint="Use the secret that it was sealed with, or set the value again.",
        )

    def _cipher(self, purpose: str) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 20 ms, which most commands need not pay

        return AESGCM(self.derive(f"seal {purpose}"))

    def __repr__(self) -> str:
        return "Secret(…)"


def load(data: Path, *, given: str, file: str) -> Secret:
    """The secret from the settings, from the file they name, or from the data folder, where it is made if missing.

    Raises BadSettings or NoPermission, with a hint.
    """
    if given:
        return _checked(given.encode(), "secret_key")
    path = Path(file) if file else data / FILE_NAME
    try:
        if not file and not path.exists():
            _make(path)
        return _checked(path.read_bytes().strip(), str(path))
    except FileNotFoundError:
        raise BadSettings(f"The secret file {path} does not exist", hint="Check secret_key_file.") from None
    except PermissionError:
        raise NoPermission(f"The secret file {path} cannot be read", hint="Give it to this user, mode 0600.") from None
    except OSError as error:
        raise BadSettings(
            f"The secret file {path} cannot be read: {error.strerror}", hint="Check secret_key_file."
        ) from None


async def check(database: Database, ids: Ids, secret: Secret) -> None:
    """Make sure that the database belongs to this secret; the first one to come sets it.

    Raises OperatorError when another machine uses the database with another secret.
    """
    mine = secret.derive("check")
    async with database.write() as tx:
        _, known = await installation(tx, new_id=ids.new(), secret_check=mine)
    compare(secret, known)


async def look(database: Database, secret: Secret) -> None:
    """Like `check`, but nothing is written: a database that nobody has used yet fits every secret."""
    known = await read_secret_check(database)
    if known is not None:
        compare(secret, known)


def compare(secret: Secret, known: bytes) -> None:
    """Raise OperatorError where a database has the check value `known` of another secret."""
    if not hmac.compare_digest(known, secret.derive("check")):
        raise OperatorError(
            "This database belongs to another secret, so no key in it would be recognised",
            hint="Use the secret.key of the data folder that made it, or SEEDGATE_SECRET_KEY on every machine.",
        )


def _bound(context: str) -> bytes:
    """What is authenticated beside the text."""
    return SEALED_VERSION + _bytes(context)


def _bytes(text: str) -> bytes:
    """Of any text at all, since an error about its encoding would hold it."""
    return text.encode("utf-8", "surrogatepass")


def _checked(value: bytes, where: str) -> Secret:
    if len(value) < MIN_SECRET_BYTES:
        raise BadSettings(f"The secret in {where} is shorter than {MIN_SECRET_BYTES} bytes", hint="Make a longer one.")
    return Secret(value)


def _make(path: Path) -> None:
    """Complete under its name or not there: two processes may start at once, and the first one's stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(MIN_SECRET_BYTES)))
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
