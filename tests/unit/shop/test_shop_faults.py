"""How a part of the shop learns what is wrong with it."""

import json
import os

import pytest
from shopsvc.faults import Bag, FaultFile, Faults, digest, parse


def test_nothing_is_wrong_by_default():
    assert parse("") == parse("{}") == Faults()


def test_later_faults_go_over_those_of_the_release():
    base = parse('{"error_share": 0.5, "work_ms": 3}')
    assert parse('{"error_share": 0.1}', base) == Faults(error_share=0.1, work_ms=3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"eror_share": 1}', "eror_share"),
        ('{"error_share": 1.5}', "error_share"),
        ('{"slow_seconds": -1}', "slow_seconds"),
        ('{"rate": "fast"}', "rate"),
        ('{"burn_processes": true}', "burn_processes"),
        ('{"burn_processes": 1.5}', "burn_processes"),
        ('{"lock_table": "ledger; DROP TABLE ledger"}', "lock_table"),
        ("[1]", "JSON object"),
        ("not JSON", "Expecting value"),
    ],
)
def test_faults_that_make_no_sense_are_refused_by_name(text, named):
    with pytest.raises(ValueError, match=named):
        parse(text)


@pytest.mark.parametrize("share", [0.01, 0.14, 0.5, 0.99, 1.0])
def test_a_bag_hits_the_exact_share_of_every_hundred(share):
    bag = Bag(seed=1)
    for _ in range(3):
        assert sum(bag.hit(share) for _ in range(100)) == round(100 * share)


def test_a_bag_follows_a_changed_share_at_once():
    bag = Bag(seed=1)
    assert bag.hit(1.0)
    assert not any(bag.hit(0.0) for _ in range(50))
    assert all(bag.hit(1.0) for _ in range(50))


def test_hits_do_not_come_in_a_fixed_pattern():
    bag = Bag(seed=1)
    assert [bag.hit(0.5) for _ in range(100)] != [bag.hit(0.5) for _ in range(100)]


@pytest.fixture
def switch(tmp_path):
    """Writes the fault file as shopsvc.control does, each time with a new modification time."""
    written = 0

    def write(text):
        nonlocal written
        written += 1
        (tmp_path / "faults.json").write_text(text)
        os.utime(tmp_path / "faults.json", ns=(written, written))

    return write


def test_the_file_switches_faults_and_says_what_is_in_effect_since_when(tmp_path, switch):
    file = FaultFile(tmp_path)
    assert not file.poll(now=1.0)
    switch('{"error_share": 0.14}')
    assert file.poll(now=2.0)
    assert file.current == Faults(error_share=0.14)
    assert not file.poll(now=3.0), "nothing changed since"
    applied = json.loads((tmp_path / "applied.json").read_text())
    assert applied == {"digest": digest('{"error_share": 0.14}'), "at": 2.0}


def test_an_empty_object_heals_but_leaves_what_the_release_brought(tmp_path, switch):
    file = FaultFile(tmp_path, base='{"work_ms": 3}')
    switch('{"error_share": 0.14}')
    file.poll(now=1.0)
    switch("{}")
    assert file.poll(now=2.0)
    assert file.current == Faults(work_ms=3)


def test_a_senseless_file_changes_nothing_and_is_not_confirmed(tmp_path, switch):
    file = FaultFile(tmp_path)
    switch('{"error_share": 7}')
    assert not file.poll(now=1.0)
    assert file.current == Faults()
    assert not (tmp_path / "applied.json").exists()


def test_a_restarted_container_has_its_faults_again(tmp_path, switch):
    switch('{"leak_mib_per_second": 8}')
    FaultFile(tmp_path).poll(now=1.0)
    restarted = FaultFile(tmp_path)
    assert restarted.poll(now=2.0)
    assert restarted.current.leak_mib_per_second == 8
