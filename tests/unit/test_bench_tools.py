"""What the benchmarks make of their load tools' reports, and which answers they take for right."""

import socket
from contextlib import ExitStack

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.bench import crowd, dnsperf, wrk
from tests.bench.population import DOMAIN
from tests.bench.questions import EXPECTED, MOVING_A, SRV, UNKNOWN_A, A

STATISTICS = """DNS Performance Testing Tool
Version 2.10.0

[Status] Sending queries (to 127.0.0.1:5300)
> NOERROR svc-083.service.beacon.internal A 0.000189
> T svc-084.service.beacon.internal A
> SERVFAIL svc-034.service.beacon.internal A 0.000117
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         30003
  Queries completed:    30002 (100.00%)
  Queries lost:         1 (0.00%)

  Response codes:       NOERROR 30000 (99.99%), SERVFAIL 2 (0.01%)
  Average packet size:  request 60, response 220
  Run time (s):         2.000185
  Queries per second:   14998.612628
"""
NAME = f"svc-007.service.{DOMAIN}"


def test_figures_of_dnsperf_are_read() -> None:
    told = dnsperf.parse(STATISTICS, tool_cpu_s=0.5)
    assert (told.sent, told.octets, told.run_s) == (30003, 220, 2.000185)
    assert told.rcodes == {"NOERROR": 30000, "SERVFAIL": 2}
    assert told.latencies_s == [0.000189, 0.000117]
    assert told.tool_cpu_s == 0.5


@pytest.mark.parametrize("cut", ["Statistics:", "Response codes:", "Run time", "Average packet"])
def test_report_of_dnsperf_that_is_not_whole_is_refused(cut: str) -> None:
    with pytest.raises(ValueError, match=r"dnsperf (told no|did not tell)"):
        dnsperf.parse(STATISTICS[: STATISTICS.index(cut)])


def test_figures_of_wrk_are_read_from_among_its_words() -> None:
    line = '{"answers": 9, "octets": 2700, "wall_us": 1000123, "wrong": 1, "lost": 2}'
    told = wrk.parse(f"Running 1s test @ http://127.0.0.1:1\n{line}\nRequests/sec: 9\n", 0.25)
    assert told == wrk.Report(9, 2700, 1000123, 1, 2, tool_cpu_s=0.25)


def test_wrk_that_told_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no figures"):
        wrk.parse("unable to connect")


def reply(name: str, qtype: str, *data: str, rcode: int = 0, flags: int = 0) -> bytes:
    told = dns.message.make_response(dns.message.make_query(name, qtype, use_edns=0))
    told.set_rcode(dns.rcode.Rcode(rcode))
    told.flags |= flags
    if data:
        told.answer.append(dns.rrset.from_text(f"{name}.", 0, "IN", qtype, *data))
    return told.to_wire()


def test_right_answers_have_no_fault() -> None:
    for asked in (A, SRV):
        assert not asked.fault(NAME, reply(NAME, asked.qtype, *EXPECTED[NAME, asked.qtype]))
    assert not UNKNOWN_A.fault("x", reply("x", "A", rcode=dns.rcode.NXDOMAIN))


def test_answer_with_fewer_other_or_cut_records_is_at_fault() -> None:
    right = sorted(EXPECTED[NAME, "A"])
    assert len(right) == 10
    assert "9 records" in A.fault(NAME, reply(NAME, "A", *right[1:]))
    assert "other records" in A.fault(NAME, reply(NAME, "A", "192.0.2.1", *right[1:]))
    assert "cut" in A.fault(NAME, reply(NAME, "A", *right, flags=dns.flags.TC))
    assert "NXDOMAIN" in A.fault(NAME, reply(NAME, "A", rcode=dns.rcode.NXDOMAIN))


def test_records_that_move_are_only_counted() -> None:
    right = sorted(EXPECTED[NAME, "A"])
    assert not MOVING_A.fault(NAME, reply(NAME, "A", "192.0.2.1", *right[1:]))
    assert "9 records" in MOVING_A.fault(NAME, reply(NAME, "A", *right[1:]))


def test_unknown_name_that_is_answered_is_at_fault() -> None:
    assert "NOERROR" in UNKNOWN_A.fault("x", reply("x", "A", "192.0.2.1"))


def test_unknown_names_never_repeat_in_a_round_and_are_as_long_as_each_other() -> None:
    names = list(UNKNOWN_A.names(3))
    assert len(set(names)) == len(names) == 500_000
    assert len({len(name) for name in names}) == 1


def test_known_names_are_drawn_anew_for_each_round_and_all_come() -> None:
    assert list(A.names(1)) != list(A.names(2))
    assert len(set(A.names(1))) == 100


def test_answer_is_whole_with_its_last_octet() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Beacond-Index: 77\r\n\r\nabc"
    assert crowd.is_whole_answer(answer)
    assert not any(crowd.is_whole_answer(answer[:end]) for end in range(len(answer)))
    assert b"?index=77&" in crowd.next_blocking(answer, "web")


def test_event_is_whole_with_its_chunk_and_a_quiet_stream_tells_none() -> None:
    event = b'1a\r\n{"kind":"instance.stopped"}\n\r\n'
    assert crowd.is_whole_event(event)
    assert not crowd.is_whole_event(event[:-1])
    assert not crowd.is_whole_event(b"1\r\n\n\r\n")


def test_change_has_reached_all_when_the_last_has_it_whole() -> None:
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(5)]
        near, far = ([stack.enter_context(pair[end]) for pair in pairs] for end in (0, 1))
        for each in far[1:]:
            each.send(b"whole")
        far[0].send(b"who")
        took_s, read = crowd.reach(near, lambda: far[0].send(b"le"), b"whole".__eq__)
    assert took_s > 0
    assert read == b"whole"
