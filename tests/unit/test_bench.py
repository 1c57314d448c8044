# SPDX-License-Identifier: Apache-2.0
"""How `make bench` turns what benchmarks print into tables."""

from __future__ import annotations

from bench.overhead import told
from bench.run import BENCHES, Bench, figures, markdown

NOISE = (-0.04, 0.05, 0.01, -0.01, 0.02, 0.03, 0.0, -0.02, 0.04, 0.015)


def test_every_number_is_named_by_its_path() -> None:
    """Nested results become flat rows; texts and booleans are not figures."""
    result = {"kernel": "7.2", "runs": [{"p50_us": 310, "ok": True}, {"p50_us": 305.5}]}
    assert list(figures(result)) == [("runs[0].p50_us", 310), ("runs[1].p50_us", 305.5)]


def test_tables_begin_with_the_machine() -> None:
    """No figure is shown without what it was measured on."""
    text = markdown({"kernel": "7.2", "cpus": 2}, {"api": {"p50_us": 310.25}})
    assert text.index("| kernel | 7.2 |") < text.index("## api") < text.index("| p50_us | 310.25 |")


def test_in_the_guest_a_benchmark_is_one_line_for_its_shell() -> None:
    """The guest has an interpreter of its own, and starts the daemon first where it is needed."""
    bench = Bench("api", "systemctl start agentcgd && PYTHON tests/bench/api.py", guest=True)
    assert bench.arguments()[-2:] == [
        "--",
        "systemctl start agentcgd && python3 tests/bench/api.py",
    ]


def test_titles_are_unique() -> None:
    """Each result has a place of its own in the document."""
    titles = [bench.title for bench in BENCHES]
    assert len(set(titles)) == len(titles)


def test_differences_are_those_of_pairs() -> None:
    """A machine that becomes slower between pairs, by half, does not count as a difference; the
    interval holds the median, and the quartiles hold the interval's middle."""
    without = [100.0 * (1 + pair / 20) for pair in range(10)]
    result = told([each * 1.02 for each in without], without)
    assert (result["pairs"], result["percent"]) == (10, 2.0)
    noisy = told([each * (1 + noise) for each, noise in zip(without, NOISE, strict=True)], without)
    low, high = noisy["percent_95"]
    assert low < noisy["percent"] < high
    assert noisy["percent_quartiles"][0] < noisy["percent"] < noisy["percent_quartiles"][1]
