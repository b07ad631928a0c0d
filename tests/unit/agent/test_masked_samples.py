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
         "postgres select * from t where a = ? and b in (?, ?)"),
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


@pytest.mark.parametrize("protocol", ["http", "redis", "postgres", "mysql", "kafka", "mongo", "grpc"])
def test_a_cut_or_garbled_request_is_no_reason_to_fail_or_to_show_it(protocol: str) -> None:
    noise = random.Random(7)
    whole = {
        "http": b"GET /a HTTP/1.1\r\n", "redis": resp(b"GET", b"a"),
        "postgres": b"Q\0\0\0\x0dselect 1\0", "mysql": b"\5\0\0\0\3select",
    }  # fmt: skip
    for _ in range(500):
        begin = whole.get(protocol, b"")[: noise.randrange(20)]
        assert line(protocol, begin + noise.randbytes(noise.randrange(128))).isprintable()


def test_quotes_that_a_cut_left_open_hide_all_that_follows() -> None:
    text = b"select * from users where mail = 'ann@example.org' and password = 'hunter2"
    for at in range(len(text)):
        shown = line("postgres", b"Q\0\0\0\x40" + text[:at])
        assert not any(part in shown for part in ("ann", "hunter", "example")), shown


def test_the_newest_are_kept() -> None:
    samples = Samples()
    for n in range(250):
        samples.add(Sample(float(n), "/k8s/a/b/c", "inbound", "cluster", "http", "5xx", None, "http GET /"))
    lines = samples.text().splitlines()
    assert (len(lines), samples.total) == (200, 250) and '"time": 50.0' in lines[0] and '"latency": null' in lines[-1]
