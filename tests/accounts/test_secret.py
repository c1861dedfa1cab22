"""Sealed texts: only who has the secret, the purpose and the context reads them, and nobody changes them."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.accounts.secret import NONCE_BYTES, SEALED_VERSION, TAG_BYTES, Secret
from seedgate.domain.errors import OperatorError

SECRET = Secret(b"s" * 32)
PURPOSE, CONTEXT = "upstream key", "upstream/first"
TEXT = "sk-canary-0123456789"

texts = st.text(st.characters(exclude_categories=()), max_size=200)
purposes = st.text(max_size=200)  # our own words, never a stranger's


# If this failed, a key that was kept could not be used any more.
@given(text=texts, purpose=purposes, context=texts)
def test_what_is_sealed_is_opened(text: str, purpose: str, context: str) -> None:
    sealed = SECRET.seal(purpose, text, context)
    assert SECRET.open(purpose, sealed, context) == text
    assert len(sealed) == 1 + NONCE_BYTES + len(text.encode("utf-8", "surrogatepass")) + TAG_BYTES
    assert SECRET.seal(purpose, text, context) != sealed


# If this failed, a sealed key could be moved to a row of somebody else, or read with the wrong secret.
@given(purpose=purposes, context=texts, value=st.binary(min_size=32, max_size=40))
def test_another_secret_purpose_or_context_opens_nothing(purpose: str, context: str, value: bytes) -> None:
    sealed = SECRET.seal(PURPOSE, TEXT, CONTEXT)
    if purpose != PURPOSE:
        _refused(SECRET, purpose, sealed, CONTEXT)
    if context != CONTEXT:
        _refused(SECRET, PURPOSE, sealed, context)
    if value != SECRET.value:
        _refused(Secret(value), PURPOSE, sealed, CONTEXT)


# If this failed, whoever can write to the database could change what is sealed in it.
@given(at=st.integers(0), bit=st.integers(0, 7), cut=st.integers(0, 100))
def test_any_changed_or_missing_byte_is_noticed(at: int, bit: int, cut: int) -> None:
    sealed = bytearray(SECRET.seal(PURPOSE, TEXT, CONTEXT))
    if cut < len(sealed):
        _refused(SECRET, PURPOSE, bytes(sealed[:cut]), CONTEXT)
    sealed[at % len(sealed)] ^= 1 << bit
    _refused(SECRET, PURPOSE, bytes(sealed), CONTEXT)


# If this failed, what is derived for somebody to see, such as the check in the database, could open sealed texts.
def test_no_other_derived_key_is_the_one_that_seals() -> None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = SECRET.seal("check", TEXT, CONTEXT)
    with pytest.raises(InvalidTag):
        AESGCM(SECRET.derive("check")).decrypt(sealed[1:13], sealed[13:], SEALED_VERSION + CONTEXT.encode())


# If this failed, an operator would be told of tampering where a newer version has written.
def test_an_unknown_form_is_told_apart() -> None:
    sealed = SECRET.seal(PURPOSE, TEXT, CONTEXT)
    with pytest.raises(OperatorError, match="does not know"):
        SECRET.open(PURPOSE, b"\x02" + sealed[1:], CONTEXT)


def _refused(secret: Secret, purpose: str, sealed: bytes, context: str) -> None:
    with pytest.raises(OperatorError) as raised:
        secret.open(purpose, sealed, context)
    said = "".join(traceback.format_exception(raised.value)) + raised.value.hint
    assert raised.value.hint
    assert TEXT not in said
    assert "Secret(b" not in said
