"""How many files an account may keep."""

from dataclasses import dataclass

from seedgate.domain.errors import QuotaExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Files and their bytes."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one account's files may come to; 0 is no limit."""

    files: int
    size_bytes: int

    def check(self, used: Usage, *, more_bytes: int) -> None:
        """Raise QuotaExceeded, with the quota's name, unless one more file of that size fits beside what is used."""
        if 0 < self.files < used.files + 1:
            raise QuotaExceeded(
                f"The account keeps {used.files} of at most {self.files} files; delete some, or let them expire",
                param="files_per_account",
            )
        if 0 < self.size_bytes < used.size_bytes + more_bytes:
            raise QuotaExceeded(
                f"The account's files take {used.size_bytes} of at most {self.size_bytes} bytes, and this one would"
                f" take {more_bytes}; delete some, or let them expire",
                param="file_bytes_per_account",
            )
