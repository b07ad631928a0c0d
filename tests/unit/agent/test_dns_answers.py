"""DNS answers, whole and garbled."""

import contextlib
import struct

import pytest
from appstatus_agent.network.dns import Answer, Malformed, Names, parse_answer
from hypothesis import given
from hypothesis import strategies as st


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes, klass: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, klass, 300, len(data)) + data


def message(*records: bytes, asked: str = "www.example.org", flags: int = 0x8180, questions: int = 1) -> bytes:
    header = struct.pack("!HHHHHH", 7, flags, questions, len(records), 0, 0)
    return header + name(asked) + struct.pack("!HH", 1, 1) + b"".join(records)


POINTER_TO_QUESTION = b"\xc0\x0c"


def test_addresses_belong_to_the_name_that_was_asked_for():
    answer = message(
        record(POINTER_TO_QUESTION, 5, name("edge.example.net")),
        record(name("edge.example.net"), 1, bytes([192, 0, 2, 1])),
        record(name("edge.example.net"), 28, bytes.fromhex("20010db8000000000000000000000001")),
    )
    assert parse_answer(answer) == Answer("www.example.org", ("192.0.2.1", "2001:db8::1"))


def test_names_are_lower_case():
    assert parse_answer(message(record(POINTER_TO_QUESTION, 1, b"\1\2\3\4"), asked="WWW.Example.ORG")).name == "www.example.org"


def test_a_record_of_another_name_is_not_believed():
    assert parse_answer(message(record(name("bank.example.com"), 1, b"\1\2\3\4"))) is None


@pytest.mark.parametrize("flags", [0x0100, 0x8183, 0x8182], ids=["query", "NXDOMAIN", "SERVFAIL"])
def test_no_answer(flags):
    assert parse_answer(message(record(POINTER_TO_QUESTION, 1, b"\1\2\3\4"), flags=flags)) is None


def test_a_cut_message_gives_what_is_whole():
    whole = message(record(POINTER_TO_QUESTION, 1, b"\1\2\3\4"), record(POINTER_TO_QUESTION, 1, b"\5\6\7\10"))
    assert parse_answer(whole[:-1]).addresses == ("1.2.3.4",)


@pytest.mark.parametrize(
    "data,reason",
    [(b"\0" * 5, "short"), (struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + b"\xc0\x0c", "pointer"),
     (struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + b"\x05ab", "cut"),
     (struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + b"\x80ab", "label"),
     (struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + b"\x02a\n\0" + b"\0" * 20, "name")],
)
def test_what_is_wrong_is_one_word(data, reason):
    with pytest.raises(Malformed, match=reason):
        parse_answer(data)


@given(st.binary(max_size=600))
def test_any_bytes_end_in_an_answer_or_a_reason(data):
    with contextlib.suppress(Malformed):
        parse_answer(data)


@given(st.data())
def test_a_damaged_answer_never_yields_a_foreign_name_character(data):
    whole = bytearray(message(record(POINTER_TO_QUESTION, 5, name("a.b")), record(name("a.b"), 1, b"\1\2\3\4")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        answer = parse_answer(bytes(whole))
    except Malformed:
        return
    if answer:
        assert answer.name.isascii() and answer.name.isprintable() and len(answer.name) < 256


def test_an_address_keeps_its_first_name_while_that_is_confirmed():
    names = Names(stable_seconds=600)
    names.learn(Answer("a.example", ("192.0.2.1",)), now=0)
    names.learn(Answer("b.example", ("192.0.2.1",)), now=10)
    assert names.items() == [("192.0.2.1", "a.example")]
    names.learn(Answer("b.example", ("192.0.2.1",)), now=601)
    assert names.items() == [("192.0.2.1", "b.example")]


def test_names_are_bounded_and_the_oldest_leaves():
    names = Names(limit=2)
    for number in range(3):
        names.learn(Answer(f"{number}.example", (f"192.0.2.{number}",)), now=number)
    assert names.items() == [("192.0.2.1", "1.example"), ("192.0.2.2", "2.example")]


def test_names_expire():
    names = Names(keep_seconds=100)
    names.learn(Answer("a.example", ("192.0.2.1",)), now=0)
    names.expire(now=99)
    assert len(names) == 1
    names.expire(now=100)
    assert len(names) == 0
