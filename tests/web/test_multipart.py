"""Forms from strangers: one file, in pieces of any size, and nothing else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedgate.domain.errors import InvalidRequest, SeedgateError, TooLarge
from seedgate.web.multipart import FormFile

TYPE = "multipart/form-data; boundary=xYz"


def form(*parts: tuple[str, bytes], boundary: bytes = b"xYz", end: bytes = b"--\r\n") -> bytes:
    made = b""
    for disposition, content in parts:
        made += b"--%b\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % (boundary, disposition.encode(), content)
    return made + b"--%b%b" % (boundary, end)


FILE = 'form-data; name="file"; filename="a.png"'


def read(body: bytes, *, cuts: tuple[int, ...] = (), content_type: str = TYPE, most: int = 1000) -> bytes:
    taken = FormFile(content_type, most_bytes=most)
    edges = [0, *sorted({min(cut, len(body)) for cut in cuts}), len(body)]
    out = b"".join(piece for a, b in zip(edges, edges[1:], strict=False) if a < b for piece in taken.feed(body[a:b]))
    taken.close()
    return out


# If this failed, a picture would be damaged by how the network happened to cut it, or by looking like a boundary.
@given(
    content=st.one_of(
        st.binary(min_size=1, max_size=200),
        st.lists(st.sampled_from([b"\r", b"\n", b"--", b"xYz", b"\r\n--", b"\r\n--xY", b"-"]), min_size=1).map(
            b"".join
        ),
    ),
    cuts=st.lists(st.integers(1, 400)).map(tuple),
)
def test_any_content_in_any_pieces_comes_out_whole(content: bytes, cuts: tuple[int, ...]) -> None:
    if b"\r\n--xYz" not in content:
        body = form((FILE, content))
        assert read(body, cuts=cuts) == content
        assert read(body, cuts=(*cuts, len(body) - 2, len(body) - 4)) == content


# If this failed, somebody's broken or hostile form would be an error of ours.
@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(1, 300)).map(tuple), head=st.booleans())
def test_any_bytes_are_a_form_or_refused(body: bytes, cuts: tuple[int, ...], head: bool) -> None:
    with pytest.raises(SeedgateError):
        read((b"--xYz\r\nContent-Disposition: " if head else b"") + body, cuts=cuts)


@given(content_type=st.text(max_size=100))
def test_any_content_type_is_one_or_refused(content_type: str) -> None:
    with contextlib.suppress(InvalidRequest):
        FormFile("multipart/form-data; boundary=" + content_type, most_bytes=1)


# If this failed, a form would be half understood: one of two files kept, a field ignored, an end made up.
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", "file"),
        (form(), "file"),
        (form((FILE, b"")), "file"),
        (form((FILE, b"a"), ('form-data; name="second"; filename="b.png"', b"b")), "second"),
        (form((FILE, b"a"), (FILE, b"b"), (FILE, b"c")), "file"),
        (form((FILE, b"a"), ('form-data; name="note"', b"b")), "note"),
        (form(('form-data; name="note"', b"b")), "note"),
        (form((FILE, b"a"), end=b""), "file"),
        (form((FILE, b"a"))[:-20], "file"),
        (form((FILE, b"a"), boundary=b"other"), "file"),
        (b"--xYz\r\n" + b"A: b\r\n" * 9 + b"\r\na\r\n--xYz--\r\n", "file"),
        (b"--xYz\r\nContent-Disposition: " + b"a" * 5000, "file"),
        (b"preamble" * 100 + form((FILE, b"a")), "file"),
    ],
)
def test_broken_forms_are_told_apart(body: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert caught.value.param == param


# If this failed, one upload could fill the disk.
def test_a_file_is_bounded_while_it_comes() -> None:
    assert len(read(form((FILE, b"a" * 1000)))) == 1000
    with pytest.raises(TooLarge):
        read(form((FILE, b"a" * 1001)), cuts=tuple(range(1, 1200, 100)))


# If this failed, a boundary could be anything, or none.
@pytest.mark.parametrize("options", ["", "; boundary=", "; boundary=" + "x" * 71, '; boundary="a\tb"', "; boundary=é"])
def test_a_boundary_is_needed(options: str) -> None:
    with pytest.raises(InvalidRequest):
        FormFile("multipart/form-data" + options, most_bytes=10)
