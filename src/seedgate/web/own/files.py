"""Files: reference pictures that a caller uploads once and draws from as often as it likes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from seedgate.domain.errors import InvalidRequest, WrongMediaType
from seedgate.domain.reference import MAX_IMAGE_BYTES
from seedgate.store.files import StoredFile
from seedgate.web.body import parts
from seedgate.web.multipart import MAX_FORM_BYTES, FormFile
from seedgate.web.own import wire
from seedgate.web.own.door import Asked, House, cursor

FORM = "multipart/form-data"


async def upload(house: House, asked: Asked) -> wire.File:
    """Take one picture: the body itself, or the one file of a form."""
    account_id = asked.caller.account_id
    with house.uploads.turn(account_id) as original:
        await house.uploads.refuse_full(account_id)
        await _write(_content(asked), original)
        return _file(house, await house.uploads.add(account_id, original))


async def list_files(house: House, asked: Asked) -> wire.FilePage:
    """A page of the account's files, and how full it is."""
    most, before = asked.page()
    account_id, quota = asked.caller.account_id, house.uploads.quota
    found = await house.uploads.page(account_id, before=before, most=most + 1)
    used = await house.uploads.usage(account_id)
    return wire.FilePage(
        files=[_file(house, file) for file in found[:most]],
        usage=wire.FileUsage(
            files=used.files, max_files=quota.files, size_bytes=used.size_bytes, max_size_bytes=quota.size_bytes
        ),
        next_cursor=cursor(found[most - 1].id) if len(found) > most else None,
    )


async def show_file(house: House, asked: Asked) -> wire.File:
    """One file."""
    return _file(house, await house.uploads.find(asked.caller.account_id, asked.uuid()))


async def delete_file(house: House, asked: Asked) -> wire.Deleted:
    """Its address leads nowhere from now on."""
    await house.uploads.delete(asked.caller.account_id, asked.uuid())
    return wire.Deleted(id=asked.id, deleted=True)


def _content(asked: Asked) -> AsyncIterator[bytes]:
    """The picture's bytes as they come in."""
    headers = asked.request.headers
    content_type = headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    announced = headers.get("content-length", "").encode("latin-1")
    if media_type == FORM:
        form = FormFile(content_type, most_bytes=MAX_IMAGE_BYTES)
        return _of_form(parts(asked.request.receive, limit=MAX_IMAGE_BYTES + MAX_FORM_BYTES, announced=announced), form)
    if not media_type.startswith("image/"):
        raise WrongMediaType(
            f"Send the picture with a Content-Type such as image/png, or as the one file of {FORM}",
            param="Content-Type",
        )
    return parts(asked.request.receive, limit=MAX_IMAGE_BYTES, announced=announced)


async def _of_form(body: AsyncIterator[bytes], form: FormFile) -> AsyncIterator[bytes]:
    async for data in body:
        for piece in form.feed(data):
            yield piece
    form.close()


async def _write(content: AsyncIterator[bytes], target: Path) -> None:
    size = 0
    with target.open("wb") as file:
        async for piece in content:
            size += await asyncio.to_thread(file.write, piece)
    if not size:
        raise InvalidRequest("The upload is empty", param="file")


def _file(house: House, file: StoredFile) -> wire.File:
    return wire.File(
        id=file.id.hex,
        url=house.file_url(file.name),
        format=file.format,
        width=file.width,
        height=file.height,
        size_bytes=file.size_bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
    )
