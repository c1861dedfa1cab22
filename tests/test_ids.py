"""Ids sort by time, keys carry their own checksum, nothing repeats."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.ids import Ids, KeyKind, key_digest, key_prefix, uuid7, well_formed_key


# If this failed, tasks would not sort by time, or an id would be no UUIDv7.
@given(
    ms=st.integers(0, 2**48 - 2), entropy=st.binary(min_size=10, max_size=10), other=st.binary(min_size=10, max_size=10)
)
def test_uuids_are_version_7_and_sort_by_time(ms: int, entropy: bytes, other: bytes) -> None:
    made = uuid7(unix_ms=ms, entropy=entropy)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == ms
    assert made < uuid7(unix_ms=ms + 1, entropy=other)


# If this failed, two different draws of randomness could give one id.
def test_all_entropy_is_used() -> None:
    seen = {
        uuid7(unix_ms=1, entropy=bytes([0] * i + [1 << bit] + [0] * (9 - i))) for i in range(10) for bit in range(8)
    }
    # 80 bits go in, 74 are kept: at most the six highest may not matter.
    assert len(seen) >= 74


# If this failed, a typing error or a scanner's garbage would reach the database.
@pytest.mark.parametrize("kind", KeyKind)
def test_keys_know_their_checksum(kind: KeyKind) -> None:
    key = Ids().api_key(kind)
    assert well_formed_key(key)
    assert key_prefix(key) == key[: len(f"sg_{kind}_") + 8]
    for position in range(len(key)):
        other = "A" if key[position] != "A" else "B"
        assert not well_formed_key(key[:position] + other + key[position + 1 :])
    assert not well_formed_key(key + "\n")
    assert not well_formed_key(key[:-1])


# If this failed, a stolen database would give keys away, or another installation's keys would work here.
def test_digests_depend_on_the_pepper() -> None:
    key = Ids().api_key(KeyKind.LIVE)
    assert key_digest(b"a", key) != key_digest(b"b", key)
    assert len(key_digest(b"a", key)) == 32


# If this failed, result addresses could be guessed or would not fit their pattern.
def test_tokens_are_22_characters_and_unique() -> None:
    ids = Ids()
    tokens = {ids.token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == 22 and token.isalnum() and token.isascii() for token in tokens)


def test_new_ids_are_unique() -> None:
    ids = Ids()
    assert len({ids.new() for _ in range(1000)}) == 1000
    assert isinstance(ids.new(), UUID)
