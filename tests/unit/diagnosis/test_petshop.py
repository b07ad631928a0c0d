"""A sanity run on recorded incidents (PetShop, CC-BY-4.0; see ../shared/data): far above guessing. The benchmark judges."""

import sys
from pathlib import Path

import pytest
from appstatus.diagnosis import diagnose

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data" / "rca" / "petshop"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_most_recorded_incidents_are_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "benchmarks")])
    from recorded import petshop

    right, ranked, all_of = 0, 0, 0
    for case in petshop.cases(DATA):
        causes = [c.app.name for c in diagnose(case.world, {}, case.violator, case.statuses, case.world.now).causes]
        all_of += 1
        right += causes[:1] == [case.truth]
        ranked += case.truth in causes
    with capsys.disabled():
        print(f"\nPetShop: AC@1 {right}/{all_of}, AC@3 {ranked}/{all_of}")
    assert right > all_of / 2
