"""Messages of the kernel's connection tracking, as recorded (Linux 6.18; a Service-like dnat to a local port, IPv4 and IPv6)."""

import contextlib
import struct

import pytest
from appstatus_agent.network.conntrack import Translation, parse
from hypothesis import given
from hypothesis import strategies as st

NEW_UDP = bytes.fromhex(
    "94000000000100060000000000000000020000003400018014000180080001007f000001080002007f0000011c0002800500010011000000"
    "06000200e991000006000300000900003400028014000180080001007f000001080002007f0000011c000280050001001100000006000200"
    "0009000006000300e991000008000c0085d122e80800030000000188080007000000001e"
)
NEW_TRANSLATED = bytes.fromhex(
    "c4000000000100060000000000000000020000003400018014000180080001000a600001080002000a60000a1c0002800500010006000000"
    "06000200a67c000006000300005000003400028014000180080001007f000001080002000a6000011c000280050001000600000006000200"
    "1fa3000006000300a67c000008000c00687a49d208000300000001a80800070000000078300004802c000180050001000100000005000200"
    "0a000000050003000000000006000400030000000600050000000000"
)
NEW_DIRECT = bytes.fromhex(
    "c4000000000100060000000000000000020000003400018014000180080001007f000001080002007f0000011c0002800500010006000000"
    "06000200acfe0000060003001fa300003400028014000180080001007f000001080002007f0000011c000280050001000600000006000200"
    "1fa3000006000300acfe000008000c00b55b7b5808000300000001880800070000000078300004802c000180050001000100000005000200"
    "0a000000050003000000000006000400030000000600050000000000"
)
ENDED_TRANSLATED_IPV6 = bytes.fromhex(
    "d40000000201000000000000717300000a0000004c0001802c00018014000300fd00000000000000000000000000000114000400fd000000"
    "0000000000000000000000101c0002800500010006000000060002008f14000006000300005000004c0002802c0001801400030000000000"
    "00000000000000000000000114000400fd0000000000000000000000000000011c0002800500010006000000060002001fa3000006000300"
    "8f14000008000c007fe6db5708000300000003ae080007000006977f100004800c0001800500010003000000"
)
V4 = Translation((bytes([10, 96, 0, 1]), 42620), (bytes([10, 96, 0, 10]), 80), (bytes([127, 0, 0, 1]), 8099))


def test_a_translated_connection():
    assert parse(NEW_TRANSLATED) == ([V4], False)
    assert str(V4) == "10.96.0.1 port 42620 -> 10.96.0.10 port 80 = 127.0.0.1 port 8099"


def test_the_end_of_a_translated_ipv6_connection():
    (translation,), _ = parse(ENDED_TRANSLATED_IPV6)
    assert translation.ended
    assert str(translation) == "fd00::1 port 36628 -> fd00::10 port 80 = ::1 port 8099"


@pytest.mark.parametrize("data", [NEW_UDP, NEW_DIRECT, b""])
def test_what_is_not_translated_tcp_is_left_out(data):
    assert parse(data) == ([], False)


def test_a_dump_is_many_messages_and_a_last_one():
    done = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
    assert parse(NEW_DIRECT + NEW_TRANSLATED + NEW_UDP + done) == ([V4], True)


def test_the_kernels_refusal_is_an_error():
    refusal = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1)
    with pytest.raises(PermissionError):
        parse(refusal)


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data):
    with contextlib.suppress(OSError):
        parse(data)


@given(st.integers(0, len(NEW_TRANSLATED) - 1), st.integers(0, 255))
def test_a_damaged_message_is_survived(at, value):
    damaged = bytearray(NEW_TRANSLATED)
    damaged[at] = value
    with contextlib.suppress(OSError):
        parse(bytes(damaged))
