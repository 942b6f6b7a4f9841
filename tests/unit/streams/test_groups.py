"""Who reads what: even, with few moves, the same for whoever asks."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.streams import Partition
from bitvelocity.streams.groups import shared_out

TOPICS = st.sampled_from(["a", "b", "c"])
MEMBERS = st.dictionaries(st.sampled_from("vwxyz"), st.sets(TOPICS, min_size=1), max_size=5)
HELD = st.dictionaries(
    st.builds(Partition, TOPICS, st.integers(0, 4)), st.none() | st.sampled_from("vwxyz"), max_size=15
)


@given(MEMBERS, HELD)
def test_every_partition_has_a_reader_and_nobody_has_much_more(
    members: dict[str, set[str]], held: dict[Partition, str | None]
) -> None:
    wanted = shared_out(members, held)
    assert set(wanted) == {p for p in held if any(p.topic in topics for topics in members.values())}
    load = Counter(wanted.values())
    for partition, owner in wanted.items():
        assert partition.topic in members[owner]
        others = [name for name, topics in members.items() if partition.topic in topics]
        assert load[owner] - min(load[name] for name in others) <= 1
    assert shared_out(members, wanted) == wanted, "who has the right ones keeps them"


def test_a_newcomer_takes_as_few_as_it_should() -> None:
    held: dict[Partition, str | None] = {Partition("a", number): "x" if number < 3 else "y" for number in range(6)}
    wanted = shared_out({"x": {"a"}, "y": {"a"}, "z": {"a"}}, held)
    assert sum(wanted[partition] != owner for partition, owner in held.items()) == 2
