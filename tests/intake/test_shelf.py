"""Files by the digest of their content, and data URLs put among them."""

import base64
import errno
import hashlib
import os
import stat
from urllib.parse import quote

import pytest

from seedgate.domain.errors import NoSpace
from seedgate.domain.reference import MAX_IMAGE_BYTES, ReferenceFault, ReferenceRefused
from seedgate.intake.dataurl import is_data_url, store_data_url
from seedgate.intake.shelf import Shelf

CONTENT = b"not an image, which is for the gate to find out"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TEXT = base64.b64encode(CONTENT).decode()


@pytest.fixture
def shelf(tmp_path):
    return Shelf(root=tmp_path / "shelf")


def files(shelf):
    return sorted(str(path.relative_to(shelf.root)) for path in shelf.root.rglob("*") if path.is_file())


class TestShelf:
    def test_a_file_stands_under_its_digest_once(self, shelf):
        for _ in range(2):
            with shelf.desk() as desk:
                (desk / "made").write_bytes(CONTENT)
                assert shelf.put(desk / "made") == DIGEST
        assert files(shelf) == [f"{DIGEST[:2]}/{DIGEST}"]
        assert shelf.has(DIGEST)
        # What was put there just now may be another task's.
        assert not shelf.remove(DIGEST, older_than_s=60)
        assert shelf.has(DIGEST)
        assert shelf.remove(DIGEST, older_than_s=-1)
        assert not shelf.has(DIGEST)
        assert not shelf.remove(DIGEST, older_than_s=-1)
        assert not shelf.remove("..", older_than_s=-1)

    @pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", DIGEST.upper(), DIGEST + "0", DIGEST[:-1] + "\n"])
    def test_nothing_but_a_digest_is_a_name(self, shelf, name):
        assert not shelf.has(name)
        with pytest.raises(ValueError):
            shelf.path(name)

    def test_a_desk_leaves_nothing_behind(self, shelf):
        def fail():
            with shelf.desk() as desk:
                (desk / "half").write_bytes(CONTENT)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert files(shelf) == []

    def test_what_a_killed_process_left_is_cleared(self, shelf):
        (shelf.root / "desk/old").mkdir(parents=True)
        (shelf.root / "desk/old/half").write_bytes(CONTENT)
        shelf.clear_desk(older_than_s=-1)
        assert files(shelf) == []

    # Strangers' pictures could be read by every user of the machine.
    @pytest.mark.parametrize("first", ["desk", "put"])
    def test_only_our_own_user_reads_it(self, tmp_path, first):
        data = tmp_path / "data"
        data.mkdir()
        data.chmod(0o755)
        shelf, made = Shelf(root=data / "references"), tmp_path / "made"
        before = os.umask(0)
        try:
            if first == "desk":
                store_data_url("data:image/png;base64," + TEXT, shelf)
            else:
                made.write_bytes(CONTENT)
                shelf.put(made)
                with shelf.desk():
                    pass
        finally:
            os.umask(before)
        found = {str(path.relative_to(data)): stat.S_IMODE(path.stat().st_mode) for path in data.rglob("*")}
        assert found == {
            "references": 0o700,
            "references/desk": 0o700,
            f"references/{DIGEST[:2]}": 0o700,
            f"references/{DIGEST[:2]}/{DIGEST}": 0o600,
        }
        assert stat.S_IMODE(data.stat().st_mode) == 0o755

    def test_a_full_disk_is_for_the_operator(self, shelf):
        with pytest.raises(NoSpace), shelf.desk():
            raise OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(PermissionError), shelf.desk():
            raise PermissionError


class TestDataUrl:
    @pytest.mark.parametrize(
        "head", ["data:image/png;base64,", "DATA:IMAGE/PNG;BASE64,", "data:image/svg+xml;charset=utf-8;base64,"]
    )
    def test_the_bytes_are_kept_as_they_came(self, shelf, head):
        assert is_data_url(head)
        assert store_data_url(head + TEXT, shelf) == f"sha256:{DIGEST}"
        assert shelf.path(DIGEST).read_bytes() == CONTENT

    @pytest.mark.parametrize(
        "text",
        [
            "data:image/png;base64,",
            "data:,hello",
            "data:text/html;base64," + TEXT,
            "data:image/png," + quote("<svg/>"),
            "data:image/png;base64" + TEXT,
            "data:image/png;base64," + TEXT + "!",
            "data:image/png;base64," + TEXT[:8] + "\n" + TEXT[8:],
            "data:image/png;base64, " + TEXT,
            "data:image/png;base64," + TEXT.rstrip("="),
            "data:image/png;base64,AAA",
            "data:image/png;base64,AAAA====",
            "data:image/png;base64,____",
            "data:image/png;base64,AA%3D%3D",
            "data:image/png;base64,ＡＡＡＡ",
            "data:image/" + "a" * 300 + ";base64," + TEXT,
            " data:image/png;base64," + TEXT,
        ],
    )
    def test_anything_else_is_refused(self, shelf, text):
        with pytest.raises(ReferenceRefused) as caught:
            store_data_url(text, shelf, index=3)
        assert (caught.value.reason, caught.value.index) == (ReferenceFault.FORMAT, 3)
        assert not shelf.root.exists()

    @pytest.mark.parametrize(
        ("size", "fits"), [(MAX_IMAGE_BYTES, True), (MAX_IMAGE_BYTES + 1, False), (MAX_IMAGE_BYTES + 1000, False)]
    )
    def test_the_limit_is_exact(self, shelf, size, fits):
        text = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
        if fits:
            assert shelf.path(store_data_url(text, shelf).removeprefix("sha256:")).stat().st_size == size
        else:
            with pytest.raises(ReferenceRefused) as caught:
                store_data_url(text, shelf)
            assert caught.value.reason == ReferenceFault.TOO_LARGE
