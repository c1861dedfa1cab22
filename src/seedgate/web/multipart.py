"""The one file of a form: multipart/form-data, as browsers and `curl -F` send it.

Starlette's own reader of forms is not used: it keeps what it reads in memory, does not bound a file, and its parser has
had a denial of service every year. This parser is fed as bytes come, keeps nothing, and is bounded in every direction.
"""

from collections.abc import Iterator

import multipart

from seedgate.domain.errors import InvalidRequest, TooLarge

MAX_BOUNDARY = 70
"""By RFC 2046."""
MAX_PART_HEADERS = 8
MAX_HEADER_BYTES = 1024
MAX_FORM_BYTES = 16_384
"""What a form may be larger than its file."""
_SHOWN = 64


class FormFile:
    """Takes a form's bytes as they come and gives the bytes of its one file.

    Both methods raise InvalidRequest for a form that is broken, empty, or has anything but one file, and TooLarge for
    a file beyond `most_bytes`.
    """

    def __init__(self, content_type: str, *, most_bytes: int) -> None:
        _, options = multipart.parse_options_header(content_type)
        boundary = str(options.get("boundary", ""))
        if not 0 < len(boundary) <= MAX_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
            raise InvalidRequest("The form's Content-Type names no boundary", param="Content-Type")
        self._most_bytes = most_bytes
        self._size = 0
        self._files = 0
        # Not strict: that refuses the line break behind the last boundary when it comes in a piece of its own.
        self._parser = multipart.PushMultipartParser(
            boundary,
            max_header_size=MAX_HEADER_BYTES,
            max_header_count=MAX_PART_HEADERS,
            max_segment_count=2,
        )

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The parts of the file in the next bytes of the form, which are not none."""
        try:
            for event in self._parser.parse(data):
                if isinstance(event, multipart.MultipartSegment):
                    self._begin(event)
                elif event is not None:
                    yield self._count(bytes(event))
        except ValueError:  # the parser's errors are such, and so is a header in broken UTF-8
            raise InvalidRequest("The form is broken", param="file") from None

    def close(self) -> None:
        """The form has come to its end."""
        try:
            self._parser.close()
        except ValueError:
            raise InvalidRequest("The form is broken, or ends too early", param="file") from None
        if not self._size:
            raise InvalidRequest("The form has no file, or an empty one", param="file")

    def _begin(self, part: multipart.MultipartSegment) -> None:
        name = str(part.name or "")[:_SHOWN]
        if part.filename is None:
            raise InvalidRequest(f"The form's field {name!r} is no file; only one file is taken", param=name or "file")
        self._files += 1
        if self._files > 1:
            raise InvalidRequest("The form has more than one file; send each by itself", param=name or "file")

    def _count(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > self._most_bytes:
            raise TooLarge(f"The file is larger than {self._most_bytes} bytes", param="file")
        return data
