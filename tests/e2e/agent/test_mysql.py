# SPDX-License-Identifier: Apache-2.0
"""MySQL's own: results, prepared statements, files, frames that go on, and what is not read any more."""

import time

import pytest
from talk import Talk
from test_protocols import COLUMN, EOF, MYSQL, MYSQL_OK, begin, check, mysql_end, packet

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


def mysql_rows(*rows: bytes, status: int = 2, number: int = 1, deprecated: bool = True, columns: int = 1) -> bytes:
    """A result set. `deprecated`: an OK packet ends it (after MySQL 5.7.5), and nothing the columns."""
    bodies = [bytes([columns]), *[COLUMN] * columns, *([] if deprecated else [EOF]), *rows]
    bodies.append(b"\xfe\0\0" + status.to_bytes(2, "little") + bytes(2) if deprecated else mysql_end(status))
    return b"".join(packet(number + i, body) for i, body in enumerate(bodies))


MYSQL_BAD = packet(1, b"\xff\xb5\x04#HY000Lock wait timeout")


@pytest.mark.parametrize("deprecated", [True, False])
def test_mysql_results(kernel, owners, deprecated):
    """What an answer may look like; an error in the middle of rows, or of several results, is one."""
    rows_ = (b"\1x", b"\xfb", b"\0", b"\xfc\xff\0" + b"-" * 255) * 80  # beyond 255 frames: their number begins again
    end = len(rows_) + 2 + 2
    good = [
        packet(1, b"\0\xfc\x10\x27\xfe" + bytes(8) + b"\2\0\0\0" + b"Rows matched: 10000"),
        mysql_rows(*rows_, deprecated=deprecated),
        mysql_rows(deprecated=deprecated),
        mysql_rows(b"\1x", status=0x0a, deprecated=deprecated) + mysql_rows(b"\1y", number=7, deprecated=deprecated),
        mysql_rows(b"\1x", status=0x0a, deprecated=deprecated) + packet(7, MYSQL_OK),
        packet(1, b"\xff\xff\xff\1\1\1\0\0\0\6rows  ") + packet(2, MYSQL_OK),  # MariaDB's progress
    ]
    bad = [
        mysql_rows(*rows_, deprecated=deprecated)[: -11 if deprecated else -9] + packet(end, b"\xff\x25\x05#70100Killed"),
        mysql_rows(b"\1x", status=0x0a, deprecated=deprecated) + MYSQL_BAD,
    ]
    talk = Talk(owners).open()
    begin(talk, MYSQL)
    for answer in good + bad:
        talk.ask(MYSQL.ask)
        for at in range(0, len(answer), 700):
            talk.answer(answer[at : at + 700])
    talk.close()
    check(kernel, owners, "mysql", {"ok": len(good), "failed": len(bad)})


def test_mysql_statements(kernel, owners):
    """Prepared, run, fetched and closed; what nobody answers is no request, nor is logging in again."""
    talk = Talk(owners).open()
    begin(talk, MYSQL)
    for eof in (b"", packet(4, EOF)):
        talk.ask(packet(0, b"\x16select ?, ?"))
        talk.answer(packet(1, b"\0\1\0\0\0\1\0\2\0\0\0\0") + packet(2, COLUMN) + packet(3, COLUMN) + eof + packet(5, COLUMN) + eof)
        talk.ask(packet(0, b"\x18\1\0\0\0\0\0" + b"blob" * 100) + packet(0, b"\x17\1\0\0\0\1\1\0\0\0\0\1"))
        talk.answer(packet(1, b"\1") + packet(2, COLUMN) + packet(3, mysql_end(0x42)))
        talk.ask(packet(0, b"\x1c\1\0\0\0\1\0\0\0"))
        talk.answer(packet(1, b"\0\0\1x") + packet(2, b"\0\0\x0ahundred ro") + packet(3, mysql_end(0x82)))
        talk.ask(packet(0, b"\x19\1\0\0\0") + packet(0, b"\x11shop\0"))
        talk.answer(packet(1, b"\xfemysql_native_password\0" + bytes(20)))
        talk.ask(packet(2, bytes(20)))
        talk.answer(packet(3, MYSQL_OK))
    talk.ask(packet(0, b"\x16select"))
    talk.answer(MYSQL_BAD)
    talk.ask(packet(0, b"\1"))
    talk.close()
    check(kernel, owners, "mysql", {"ok": 6, "failed": 1}, latencies=4)


def test_mysql_takes_a_file(kernel, owners):
    """LOAD DATA LOCAL: the file is its request going on, however long the client takes."""
    talk = Talk(owners).open()
    begin(talk, MYSQL)
    talk.ask(packet(0, b"\3load data local infile 'x' into table t"))
    talk.answer(packet(1, b"\xfbx"))
    for number in range(2, 260):
        talk.ask(packet(number, b"\3select"))
    time.sleep(2.2)
    kernel.sweep()
    talk.ask(packet(260, b""))
    talk.answer(packet(261, MYSQL_OK))
    talk.ask(MYSQL.ask)
    talk.answer(MYSQL.good)
    talk.close()
    check(kernel, owners, "mysql", {"ok": 2}, latencies=1)


def test_mysql_long_bodies(kernel, owners):
    """2^24 - 1 bytes go on in the next frame, whatever that begins with."""
    talk = Talk(owners).open()
    begin(talk, MYSQL)
    full = (b"\xff\xff\xff", b"\3" * 0xFFFFFF)
    talk.ask(full[0] + b"\0" + full[1])
    talk.ask(packet(1, b"\3 from t"))
    talk.answer(packet(2, b"\1") + packet(3, COLUMN) + packet(4, EOF) + full[0] + b"\5\xfe" + full[1][1:])
    talk.answer(packet(6, b"\xff\xfe") + packet(7, EOF))
    talk.ask(MYSQL.ask)
    talk.answer(MYSQL.bad)
    talk.close()
    check(kernel, owners, "mysql", {"ok": 1, "failed": 1})


@pytest.mark.parametrize("capabilities", [b"\x85\xae\xff\x09", b"\xa5\xa6\xff\x09"], ids=["TLS", "compression"])
def test_mysql_in_another_shape(kernel, owners, capabilities):
    talk = Talk(owners).open()
    talk.answer(MYSQL.begin[0][1])
    talk.ask(packet(1, capabilities + bytes(28)))
    talk.answer(packet(2, MYSQL_OK))
    for answer in (MYSQL.good, MYSQL.bad):
        talk.ask(MYSQL.ask)
        talk.answer(answer)
    talk.close()
    check(kernel, owners, "mysql", {})
