"""What a sample shows of a request, and what it never does."""

import random

import pytest
from appstatus_agent.samples import Sample, Samples, line

SECRET = b"s3cr3t-token-91827"


def resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


@pytest.mark.parametrize(
    ("protocol", "request_", "shown"),
    [
        ("http", b"GET /carts/4711/items?user=ann HTTP/1.1\r\nCookie: s3cr3t", "http GET /carts/*/items?..."),
        ("http", b"POST /v1/users/550e8400-e29b-41d4-a716-446655440000 HTTP/1.1", "http POST /v1/users/*"),
        ("http", b"GET /reset/" + SECRET + b" HTTP/1.1", "http GET /reset/*"),
        ("http", b"GET /products/all-of-them HTTP/1.1", "http GET /products/all-of-them"),
        ("http", b"\0\0\x12\1\5\0\0\0\1\x82\x84", "http"),
        ("redis", resp(b"set", b"session:ann", SECRET), "redis SET ? ?"),
        ("redis", resp(b"AUTH", SECRET), "redis AUTH ?"),
        ("redis", b"*1\r\n$4\r\n\xff\xfe", "redis"),
        ("postgres", b"Q\0\0\0\x40select * from t where a = 'ann' and b in (1, 2.5) -- me\0",
         "postgres select * from t where a = ? and b in (?, ?) ?"),
        ("postgres", b"P\0\0\0\x40\0select a from t where b = $1 and c = $$s3cr3t",
         "postgres select a from t where b = $1 and c = ?"),
        ("postgres", b"P\0\0\0\x40stmt\0update t set p='s3cr3t", "postgres update t set p=?"),
        ("postgres", b"B\0\0\0\x40\0stmt\0s3cr3t", "postgres"),
        ("mysql", b"\x30\0\0\0\x03select \"s3cr3t\", 0x1F from `t`", "mysql select ?, ? from `t`"),
        ("mysql", b"\x30\0\0\0\x17\1\0\0\0s3cr3t", "mysql"),
        ("kafka", b"\0\0\0\x40\0\1\0\x0c\0\0\0\7\0\4cart", "kafka Fetch v12"),
        ("mongo", b"\x40\0\0\0\7\0\0\0\0\0\0\0\xdd\7\0\0\0\0\0\0\0\x30\0\0\0\2find\0\6\0\0\0carts\0\3filter\0s3cr3t",
         "mongo find carts"),
        ("memcached", b"set session:ann 0 60 6\r\ns3cr3t\r\n", "memcached set ? ? ? ?"),
        ("memcached", b"\x80\0\0\6" + SECRET, "memcached"),
        ("zookeeper", SECRET, "zookeeper"),
    ],
)  # fmt: skip
def test_what_is_shown(protocol: str, request_: bytes, shown: str) -> None:
    assert line(protocol, request_) == shown


@pytest.mark.parametrize("protocol", ["http", "redis", "postgres", "mysql", "kafka", "mongo", "memcached", "grpc"])
def test_a_cut_or_garbled_request_is_no_reason_to_fail(protocol: str) -> None:
    noise = random.Random(7)
    whole = {
        "http": b"GET /a HTTP/1.1\r\n", "redis": resp(b"GET", b"a"),
        "postgres": b"Q\0\0\0\x0dselect 1\0", "mysql": b"\5\0\0\0\3select", "memcached": b"get ",
    }  # fmt: skip
    for _ in range(500):
        begin = whole.get(protocol, b"")[: noise.randrange(20)]
        assert line(protocol, begin + noise.randbytes(noise.randrange(128))).isprintable()


@pytest.mark.parametrize("protocol", ["postgres", "mysql"])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from users where mail = 'MARK' and password = 'MARK'",
        'select "MARK", a from t where b = "x\\" and c = "MARK"',
        r"insert into f values ('C:\dir\', 'MARK', 'x')", r"select a from t where a = 'x\\' and p = 'MARK'", r"select E'it\'MARK'",
        "select 'it''s MARK'", "select $$MARK$$, $tag$MARK$tag$", "/* user=MARK */ select 1", "/* a /* MARK */ MARK */ select 1",
        "select 1 -- MARK", "select 1 # MARK", "COPY t FROM STDIN; MARK",
        "select 4MARK, 0xMARK, 1.5eMARK", "select N'MARK', X'MARK'",
        "select a from t where name = 'O'MARK' and b = 'x'", "select ` 'MARK' ` from t",
    ],
)  # fmt: skip
def test_no_text_of_a_statement_is_shown_wherever_it_is_cut(protocol: str, statement: str) -> None:
    text = statement.replace("MARK", "hunter2").encode()
    begin = b"Q\0\0\0\x40" if protocol == "postgres" else b"\x40\0\0\0\3"
    for at in range(len(text) + 1):
        assert "hunte" not in line(protocol, begin + text[:at])


@pytest.mark.parametrize(
    "target",
    [
        "/bot123456:AAEhunter2-tok_en12/send", "/x;jsessionid=hunter2/y", "/users/hunter2@example.com/x", "/a%2Fhunter2%20tok",
        "/hook/T0AB,hunter2", "http://user:hunter2@proxy/path", "/a/hunter2", "/a?hunter2", "user:hunter2@host:443",
    ],
)  # fmt: skip
def test_no_token_of_a_path_is_shown(target: str) -> None:
    shown = line("http", f"GET {target} HTTP/1.1\r\n".encode())
    assert "hunter2" not in shown and shown.startswith("http GET")


def test_the_newest_are_kept() -> None:
    samples = Samples()
    for n in range(250):
        samples.add(Sample(float(n), "/k8s/a/b/c", "inbound", "cluster", "http", "5xx", None, "http GET /"))
    lines = samples.text().splitlines()
    assert (len(lines), samples.total) == (200, 250) and '"time": 50.0' in lines[0] and '"latency": null' in lines[-1]
