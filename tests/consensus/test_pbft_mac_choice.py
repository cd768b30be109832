"""The decision procedure alone: each condition, in a history in which dropping it would fork."""

from itertools import permutations

import pytest

from consensus.interface import Committee
from consensus.protocols._pbft_mac_choice import choose
from consensus.protocols._pbft_mac_messages import (
    NULL,
    Claim,
    Invalid,
    Result,
    ViewChange,
    check_view_change,
)
from crypto.interface import Digest, NodeId

FOUR = Committee(0, tuple(NodeId(f"v{number}") for number in range(1, 5)))
A, B, X = (Digest(bytes([byte]) * 32) for byte in (1, 2, 3))
H = Digest(b"\x09" * 32)
GENESIS = Result(0, NULL)


def change(
    *prepared: Claim,
    q: tuple[Claim, ...] = (),
    stable: Result = GENESIS,
    later: tuple[Result, ...] = (),
) -> ViewChange:
    """To view 9. What prepared was pre-prepared too."""
    pairs = sorted({*prepared, *q}, key=lambda item: (item.height, item.payload))
    return ViewChange(9, stable.height, (stable, *later), prepared, tuple(pairs))


def chosen(*changes: ViewChange) -> tuple[Digest, ...] | None:
    results = {choose(order, FOUR) for order in permutations(changes)}
    assert len(results) == 1, "the order has no say"
    choice = results.pop()
    return None if choice is None else choice.payloads


def test_what_a_quorum_prepared_is_chosen_whatever_the_others_say() -> None:
    prepared = change(Claim(1, 0, A))
    assert chosen(prepared, prepared, prepared) == (A,)
    assert chosen(prepared, prepared, change(), change(Claim(1, 5, X))) == (A,)


def test_nothing_is_chosen_where_nobody_prepared() -> None:
    assert chosen(change(), change(), change()) == ()
    assert chosen(change(q=(Claim(1, 0, A),)), change(), change()) == ()


def test_a1_what_may_have_been_replaced_in_a_later_view_is_not_chosen() -> None:
    """B committed in view 1 by v1, v4 and the liar v3, who denies it. v4 is still to be heard.

    v2 and v3 prepared A in view 0, which f + 1 pre-prepared: A2 alone would take it.
    """
    old = change(Claim(1, 0, A))
    v1 = change(Claim(1, 1, B), q=(Claim(1, 0, A),))
    assert chosen(v1, old, old) is None
    assert chosen(v1, old, old, v1) == (B,)


def test_a2_what_one_member_alone_claims_is_not_chosen() -> None:
    """A committed in view 0; the liar says that X prepared in a later one."""
    honest, liar = change(Claim(1, 0, A)), change(Claim(1, 5, X))
    assert chosen(honest, honest, liar) is None, "one more is waited for"
    assert chosen(honest, honest, liar, change()) == (A,)
    assert chosen(honest, honest, liar, change(q=(Claim(1, 5, X),))) == (X,), "f + 1 say so"


def test_a2_counts_only_who_pre_prepared_it_in_that_view_or_later() -> None:
    """A prepared in view 0 and was replaced; the liar says it prepared again in view 5."""
    v1 = change(Claim(1, 1, B), q=(Claim(1, 0, A),))
    liar = change(Claim(1, 5, A))
    assert chosen(v1, v1, liar, change()) == (B,)


def test_b_a_null_request_needs_a_quorum_that_prepared_nothing() -> None:
    """A committed by v1, v4 and the liar. v4 is still to be heard, v2 knows nothing."""
    v1, v2, liar = change(Claim(1, 0, A)), change(), change()
    assert chosen(v1, v2, liar) is None
    assert chosen(v1, v2, liar, v1) == (A,)
    assert chosen(change(), v2, liar, v1) == ()


def test_a_gap_below_what_prepared_is_a_null_request() -> None:
    late = change(Claim(2, 0, A))
    assert chosen(late, late, late) == (NULL, A)


def test_more_view_changes_never_undo_a_choice() -> None:
    v1 = change(Claim(1, 0, A))
    assert chosen(v1, v1, change()) == (A,)
    for more in (change(), change(Claim(1, 8, X)), v1):
        assert chosen(v1, v1, change(), more) == (A,)


def test_a_view_starts_from_the_highest_stable_checkpoint_that_f_plus_one_hold() -> None:
    four = Result(4, H)
    stable, executed, behind = change(stable=four), change(later=(four,)), change()
    for changes in permutations([stable, executed, behind]):
        choice = choose(changes, FOUR)
        assert choice is not None
        assert choice.base == four


def test_a_checkpoint_that_one_member_alone_claims_is_no_start() -> None:
    liar = change(stable=Result(8, X))
    assert chosen(liar, change(Claim(1, 0, A)), change(Claim(1, 0, A))) is None
    honest = change(Claim(1, 0, A))
    choice = choose([liar, honest, honest, honest], FOUR)
    assert choice is not None
    assert (choice.base, choice.payloads) == (GENESIS, (A,))


def test_a_checkpoint_below_what_a_quorum_may_have_forgotten_is_no_start() -> None:
    """Two forgot what is below 4: what they prepared there is not in their P any more."""
    four = Result(4, H)
    choice = choose([change(stable=four), change(stable=four), change(), change()], FOUR)
    assert choice is not None
    assert choice.base == four


def test_a_checkpoint_that_nobody_calls_stable_is_no_start() -> None:
    """F + 1 executed it: too few to certify its block for the others."""
    executed = change(Claim(1, 0, A), later=(Result(4, H),))
    choice = choose([executed, executed, change()], FOUR)
    assert choice is not None
    assert (choice.base, choice.payloads) == (GENESIS, (A,))


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("no stable", ViewChange(9, 4, (GENESIS,), (), ())),
        ("no stable", ViewChange(9, 0, (), (), ())),
        ("checkpoints", ViewChange(9, 0, (GENESIS, Result(3, H)), (), ())),
        ("checkpoints", ViewChange(9, 0, (GENESIS, Result(4, H), Result(4, X)), (), ())),
        ("P not", ViewChange(9, 0, (GENESIS,), (Claim(2, 0, A), Claim(1, 0, A)), ())),
        ("Q not", ViewChange(9, 0, (GENESIS,), (), (Claim(1, 1, A), Claim(1, 0, A)))),
        ("height", ViewChange(9, 4, (Result(4, H),), (Claim(4, 0, A),), ())),
        ("height", ViewChange(9, 0, (GENESIS,), (), (Claim(1_025, 0, A),))),
        ("later view", ViewChange(9, 0, (GENESIS,), (Claim(1, 9, A),), ())),
    ],
)
def test_what_no_correct_replica_says_is_refused(reason: str, bad: ViewChange) -> None:
    check_view_change(change(Claim(1, 8, A), later=(Result(4, H),)), 4)
    with pytest.raises(Invalid, match=reason):
        check_view_change(bad, 4)
