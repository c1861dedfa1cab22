"""How the doctor looks: at this machine, and past what is broken."""

import resource
import time
from dataclasses import replace

import pytest

from seedgate.accounts import secret
from seedgate.cli import http
from seedgate.cli.checkup import CHECKS
from seedgate.cli.patient import Patient, look
from seedgate.settings import load


@pytest.fixture
def patient(tmp_path):
    return Patient(settings=load(data=tmp_path, port=0), database=None)


# If health looked like an illness, nobody would believe the doctor.
async def test_a_patient_in_health(patient, database, world):
    key = patient.data / "secret.key"
    key.write_bytes(b"x" * 44)
    key.chmod(0o600)
    await secret.check(database, world.ids, secret.Secret(b"x" * 44))
    production = {"mode": "production", "public_url": "https://images.example"}
    well = replace(
        patient,
        settings=patient.settings.model_copy(update=production),
        database=database,
        running="u",
        ask=lambda _: http.Answer(status=200),
        synchronized=lambda: True,
        free_bytes=lambda _: 2 << 30,
        open_files=lambda: resource.RLIM_INFINITY,
    )
    findings = [await look(name, check, well) for name, check in CHECKS.items() if name not in {"engine", "workers"}]
    assert [finding for finding in findings if finding.status != "ok" or finding.hint] == []


# If the machine could not be asked, what the checks are told here would be a fairy tale.
def test_the_machine_answers(patient):
    assert patient.writable(patient.data)
    assert patient.free_bytes(patient.data) > 0
    assert patient.device(patient.data) == patient.data.stat().st_dev
    assert abs(patient.now().timestamp() - time.time()) < 5
    assert patient.synchronized() in {True, False}
    assert patient.open_files() != 0


# If one broken check ended the visit, the others would never be heard.
async def test_a_check_that_raises_is_a_finding(patient):
    async def broken(_patient):
        raise RuntimeError("bang")

    finding = await look("broken", broken, patient)
    assert (finding.status, finding.sentence) == ("fail", "bang")
