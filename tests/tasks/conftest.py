"""A house for every test that asks for one."""

from pathlib import Path

import pytest
from kept import House
from world import World


@pytest.fixture
def house(world: World, tmp_path: Path) -> House:
    return House(world=world, data=tmp_path)
