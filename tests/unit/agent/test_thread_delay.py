"""CPU delay of a container: a sum over threads that never falls."""

from appstatus_agent.containers.delay import DelaySum
from hypothesis import given
from hypothesis import strategies as st

SECOND = 10**9


def test_all_threads_count():
    delay = DelaySum()
    delay.update([(10, SECOND), (11, 2 * SECOND)])
    assert delay.seconds == 3


def test_what_ended_threads_had_stays():
    delay = DelaySum()
    delay.update([(10, SECOND), (11, 2 * SECOND)])
    delay.update([(10, 4 * SECOND)])
    assert delay.seconds == 6
    delay.update([])
    assert delay.seconds == 6


def test_a_thread_id_may_be_used_again():
    delay = DelaySum()
    delay.update([(10, 5 * SECOND)])
    delay.update([(10, SECOND)])
    assert delay.seconds == 6


@given(st.lists(st.dictionaries(st.integers(1, 6), st.integers(0, 10**12))))
def test_it_never_falls(rounds):
    delay, before = DelaySum(), 0.0
    for threads in rounds:
        delay.update(threads.items())
        assert delay.seconds >= before
        before = delay.seconds
