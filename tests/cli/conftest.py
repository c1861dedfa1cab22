"""One gateway for all tests of a worker."""

import pytest
from gateway import Gateway
from shell import Shell


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    data = tmp_path_factory.mktemp("cli") / "data"
    with Gateway(data=data, env={"SEEDGATE_WORK__ENGINE_PROCESSES": "1"}) as gateway:
        yield Shell(gateway=gateway)
        assert gateway.stop() == 0, gateway.log()
