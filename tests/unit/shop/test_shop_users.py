"""What users saw: counted by the generator, summed by the command."""

import users
from shopsvc.load import Journal, sentence
from shopsvc.record import Book


def test_a_request_counts_in_the_second_in_which_it_was_due():
    book = Book()
    early, late = book.sent(10.9, "/", rate=2), book.sent(11.4, "/", rate=2)
    book.ended(late, "/", 11.4, 0.05, "")
    book.ended(early, "/", 10.9, 0.3, "")  # its answer came in second 11
    assert [(r["t"], r["ok"], r["slow"]["0.25"]) for r in book.complete(now=20)] == [(10, 1, 1), (11, 1, 0)]


def test_a_second_is_told_only_when_all_its_requests_have_ended_and_the_next_waits_for_it():
    book = Book()
    hanging, quick = book.sent(10.0, "/", rate=1), book.sent(11.0, "/", rate=1)
    book.ended(quick, "/", 11.0, 0.01, "")
    assert book.complete(now=14) == []
    book.ended(hanging, "/", 10.0, 5.0, "timeout")
    assert [r["t"] for r in book.complete(now=15)] == [10, 11]
    assert book.complete(now=16) == []


def test_a_second_that_is_not_over_is_not_told():
    book = Book()
    book.ended(book.sent(10.0, "/", rate=1), "/", 10.0, 0.01, "")
    assert book.complete(now=11.5) == []
    assert len(book.complete(now=12.0)) == 1


def test_failures_are_counted_by_kind_and_have_no_latency():
    book = Book()
    for due, failure in ((10.1, ""), (10.4, "502"), (10.6, "timeout")):
        book.ended(book.sent(due, "/pay", rate=3), "/pay", due, 5.0, failure)
    (record,) = book.complete(now=12)
    assert (record["sent"], record["ok"], record["failed"]) == (3, 1, 2)
    assert record["failures"] == {"502": 1, "timeout": 1}
    assert record["slow"] == {"0.1": 1, "0.25": 1, "0.5": 1, "1": 1, "2": 1}
    assert record["first_failure"] == 10.4
    assert record["routes"]["/pay"]["failed"] == 2


def records():
    book = Book()
    book.ended(book.sent(10.2, "/a", rate=1), "/a", 10.2, 0.3, "")
    book.ended(book.sent(11.2, "/a", rate=1), "/a", 11.2, 0.1, "500")
    book.ended(book.sent(12.7, "/b", rate=1), "/b", 12.7, 0.1, "502")
    return book.complete(now=15)


def test_the_sum_is_over_all_seconds_and_by_route():
    seen = users.total(records())
    assert (seen["from"], seen["to"], seen["seconds"]) == (10, 13, 3)
    assert (seen["sent"], seen["ok"], seen["failed"]) == (3, 1, 2)
    assert seen["first_failure"] == 11.2
    assert seen["failures"] == {"500": 1, "502": 1}
    assert seen["slow"] == {"0.1": 1, "0.25": 1}
    assert seen["routes"]["/a"] == {"sent": 2, "ok": 1, "failed": 1, "slow_0.1": 1, "slow_0.25": 1}


def test_no_records_are_no_requests():
    assert users.table(users.total([])) == "no requests recorded"


def test_people_get_sentences():
    assert sentence(records()) == "3 s: 3 sent, 2 failed, 1 slower than 250 ms, longest 0.300 s"
    assert "33.33 % good, 2 failed" in users.table(users.total(records()))


def test_the_journal_keeps_one_older_file_and_loses_no_record(tmp_path):
    journal = Journal(tmp_path / "users.jsonl", max_bytes=50)
    for number in range(3):
        journal.append([{"t": number, "padding": "x" * 40}])
    assert '"t": 2' in (tmp_path / "users.jsonl").read_text()
    assert '"t": 1' in (tmp_path / "users.old.jsonl").read_text()


