"""What proves something: each check with a certificate that passes and those that must not.

Faults 48 and 49: a signature that is false never gets here (the host); one that is true for
another thing, or another author, or twice, proves nothing.
"""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.interface import Committee, Signed
from consensus.leaders import sticky
from consensus.protocols._pbft_messages import (
    NULL,
    Checkpoint,
    Invalid,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Rules,
    ViewChange,
    assignments,
)
from crypto.encoding import Codec, Malformed, encode
from crypto.interface import Digest, NodeId, Signature

MEMBERS = tuple(map(NodeId, ("v1", "v2", "v3", "v4")))
RULES = Rules(Committee(0, MEMBERS), sticky.create(sticky.Options()))
A, B = Digest(b"a" * 32), Digest(b"b" * 32)

M = Message


def signed(author: str, message: M) -> Signed[M]:
    return Signed(NodeId(author), message, Signature(b"s"))


def prepared(
    height: int = 1,
    view: int = 0,
    payload: Digest = A,
    *,
    primary: str = "",
    backups: tuple[str, ...] = (),
) -> Prepared:
    leader = MEMBERS[view % 4]
    others = [name for name in MEMBERS if name != leader]
    return Prepared(
        signed(primary or leader, PrePrepare(view, height, payload)),  # type: ignore[arg-type]
        tuple(
            signed(name, Prepare(view, height, payload))  # type: ignore[misc]
            for name in backups or others[:2]
        ),
    )


def proof(height: int, *authors: str) -> tuple[Signed[Checkpoint], ...]:
    return tuple(signed(name, Checkpoint(height, A)) for name in authors)  # type: ignore[misc]


def change(view: int = 1, stable: int = 0, *certificates: Prepared) -> ViewChange:
    return ViewChange(view, stable, proof(stable, "v1", "v2", "v3") if stable else (), certificates)


def new_view(*changes: tuple[str, ViewChange], view: int = 1, by: str = "v2") -> Signed[NewView]:
    enclosed = tuple(signed(author, item) for author, item in changes)
    return signed(by, NewView(view, enclosed))  # type: ignore[arg-type, return-value]


def refused(check: Callable[[], None]) -> str:
    with pytest.raises(Invalid) as caught:
        check()
    return caught.value.reason


def test_a_prepared_certificate_needs_the_primary_and_distinct_backups_who_agree() -> None:
    RULES.check_prepared(prepared())
    RULES.check_prepared(prepared(view=1))
    wrong = [
        prepared(primary="v2", backups=("v3", "v4")),
        prepared(backups=("v1", "v2")),
        prepared(backups=("v2",)),
        prepared(backups=("v2", "v2")),
        prepared(backups=("v2", "v2", "v2")),
    ]
    for other in (Prepare(0, 1, B), Prepare(0, 2, A), Prepare(1, 1, A)):
        good = prepared()
        mixed = (good.prepares[0], signed("v4", other))
        wrong.append(msgspec.structs.replace(good, prepares=mixed))
    for certificate in wrong:
        refused(lambda certificate=certificate: RULES.check_prepared(certificate))  # type: ignore[misc]


def test_a_checkpoint_is_proved_by_a_quorum_of_distinct_members_who_agree() -> None:
    RULES.check_stable(0, ())
    RULES.check_stable(16, proof(16, "v1", "v2", "v3"))
    differ = (*proof(16, "v1", "v2"), signed("v3", Checkpoint(16, B)))
    for height, shown in [
        (0, proof(0, "v1", "v2", "v3")),
        (16, ()),
        (16, proof(16, "v1", "v2")),
        (16, proof(16, "v1", "v2", "v2")),
        (16, proof(32, "v1", "v2", "v3")),
        (16, differ),
    ]:
        refused(lambda height=height, shown=shown: RULES.check_stable(height, shown))  # type: ignore[misc]


def test_a_view_change_shows_only_what_is_proved_of_lower_views_above_its_checkpoint() -> None:
    RULES.check_view_change(change())
    RULES.check_view_change(change(1, 16, prepared(17), prepared(19)))
    wrong = [
        change(1, 0, prepared(1, view=1)),
        change(1, 0, prepared(1, view=5)),
        change(1, 16, prepared(16)),
        change(1, 0, prepared(2), prepared(1)),
        change(1, 0, prepared(1), prepared(1)),
        change(1, 0, prepared(1, backups=("v2",))),
        ViewChange(1, 16, proof(16, "v1", "v2"), ()),
    ]
    for message in wrong:
        refused(lambda message=message: RULES.check_view_change(message))  # type: ignore[misc]


def test_a_new_view_is_shown_by_its_primary_with_view_changes_of_a_quorum() -> None:
    three = [("v1", change()), ("v2", change()), ("v3", change())]
    RULES.check_new_view(new_view(*three))
    for message in (
        new_view(*three, by="v1"),
        new_view(*three[:2]),
        new_view(*three[:2], three[1]),
        new_view(*three[:2], ("v3", change(2))),
        new_view(*three[:2], ("v3", change(1, 0, prepared(1, backups=("v2",))))),
        new_view(*three, view=2, by="v3"),
    ):
        refused(lambda message=message: RULES.check_new_view(message))  # type: ignore[misc]


def test_a_new_view_repeats_what_prepared_in_the_highest_view_and_fills_gaps() -> None:
    stable, chosen = assignments(
        [
            change(5, 0, prepared(3, 0, A), prepared(5, 2, A)),
            change(5, 2, prepared(3, 4, B)),
            change(5, 0, prepared(1, 3, A), prepared(3, 2, A)),
        ]
    )
    assert stable == 2
    assert chosen == {3: B, 4: NULL, 5: A}


def test_a_new_view_of_nothing_prepared_repeats_nothing() -> None:
    assert assignments([change(), change(), change()]) == (0, {})
    assert assignments([change(1, 16), change(1, 0, prepared(7)), change()]) == (16, {})


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), unique_by=lambda item: item[0]),
        min_size=3,
        max_size=3,
    ),
    st.permutations(range(3)),
)
def test_everybody_computes_the_same_whatever_the_order(
    certificates: list[list[tuple[int, int]]], order: list[int]
) -> None:
    """One payload for each height and view, as quorums that overlap ensure."""
    changes = [
        change(4, 0, *(prepared(h, v, Digest(bytes([h, v] * 16))) for h, v in sorted(items)))
        for items in certificates
    ]
    assert assignments(changes) == assignments([changes[index] for index in order])
    _, chosen = assignments(changes)
    for height, payload in chosen.items():
        views = [v for items in certificates for h, v in items if h == height]
        assert payload == (Digest(bytes([height, max(views)] * 16)) if views else NULL)


@pytest.mark.parametrize(
    "message",
    [
        PrePrepare(0, 1, A),
        Prepare(0, 1, A),
        Checkpoint(16, A),
        change(1, 16, prepared(17)),
        new_view(("v1", change(1, 16, prepared(17)))).message,
    ],
)
def test_messages_have_one_encoding_and_numbers_have_limits(message: Message) -> None:
    """Faults 9, 13 and 15."""

    codec: Codec[Signed[Message]] = Codec(Signed[Message], bytes_max=1 << 20)
    raw = encode(signed("v1", message))
    assert codec.decode(raw) == signed("v1", message)
    assert encode(codec.decode(raw)) == raw
    for cut in range(1, len(raw), 7):
        with pytest.raises(Malformed):
            codec.decode(raw[:-cut])
    if isinstance(message, PrePrepare):
        for field, value in [
            ("height", -1),
            ("view", 2**63),
            ("payload", A[:-1]),
            ("height", None),
        ]:
            bad = msgspec.structs.replace(message, **{field: value})
            with pytest.raises(Malformed):
                codec.decode(encode(signed("v1", bad)))
