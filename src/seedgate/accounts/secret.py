"""The installation's secret: peppers keys, and later encrypts what must be read again. It never enters the database."""

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from seedgate.domain.errors import BadSettings, NoPermission, OperatorError
from seedgate.ids import Ids
from seedgate.store.access import installation
from seedgate.store.database import Database
from seedgate.store.operations import read_secret_check

MIN_SECRET_BYTES = 32
FILE_NAME = "secret.key"


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret; everything that is used is derived from it for one purpose."""

    value: bytes

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose."""
        return hmac.digest(self.value, f"seedgate {purpose}".encode(), hashlib.sha256)

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
