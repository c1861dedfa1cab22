"""What everything stands on."""

from pathlib import Path

import pytest
from world import World

from seedgate.accounts import secret
from seedgate.compose.ground import _refuse_lost_secret
from seedgate.domain.errors import OperatorError
from seedgate.settings import load


# If this failed, a lost secret would be replaced by another one, and nobody would see what had happened.
async def test_no_secret_is_made_beside_an_old_database(world: World, tmp_path: Path) -> None:
    settings = load(None, data=tmp_path)
    await _refuse_lost_secret(settings, tmp_path, world.database)
    made = secret.load(tmp_path, given="", file="")
    await secret.check(world.database, world.ids, made)
    await _refuse_lost_secret(settings, tmp_path, world.database)
    (tmp_path / secret.FILE_NAME).unlink()
    with pytest.raises(OperatorError, match="is lost") as refused:
        await _refuse_lost_secret(settings, tmp_path, world.database)
    assert "backup" in refused.value.hint
    assert not (tmp_path / secret.FILE_NAME).exists()
