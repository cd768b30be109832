"""Rules of a scenario about links, regions and clocks, as data. Times are milliseconds."""

from collections.abc import Iterator
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

DELAY_MS_MAX = 600_000
"""No drawn delay is longer, and no clock jumps further."""
DRIFT_PPM_MAX = 500_000
LINKS_MAX = 64
REGIONS_MAX = 16
CLOCKS_MAX = 100
JUMPS_MAX = 16
SIGMA_MAX = 5.0

Ms = Annotated[int, Meta(ge=0, le=86_400_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Names: TypeAlias = Annotated[tuple[str, ...], Meta(max_length=128)]
Delay = Annotated[int, Meta(ge=0, le=DELAY_MS_MAX)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Data in which a misspelt word is an error."""


class Constant(Strict, frozen=True, kw_only=True, tag_field="shape", tag="constant"):
    ms: Delay


class Uniform(Strict, frozen=True, kw_only=True, tag_field="shape", tag="uniform"):
    min_ms: Delay
    max_ms: Delay


class Normal(Strict, frozen=True, kw_only=True, tag_field="shape", tag="normal"):
    """What is drawn below zero counts as zero, above the cap as the cap."""

    mean_ms: Delay
    sd_ms: Delay
    cap_ms: Delay = DELAY_MS_MAX


class LogNormal(Strict, frozen=True, kw_only=True, tag_field="shape", tag="lognormal"):
    """What is drawn above the cap counts as the cap."""

    median_ms: Annotated[int, Meta(ge=1, le=DELAY_MS_MAX)]
    sigma: Annotated[float, Meta(ge=0, le=SIGMA_MAX)]
    cap_ms: Delay = DELAY_MS_MAX


class Reorder(Strict, frozen=True, kw_only=True):
    """With this probability a message is late by up to so much, so that others overtake it."""

    probability: Share
    up_to_ms: Delay


class Link(Strict, frozen=True, kw_only=True):
    """What happens to some messages on some links for some time. Empty names: all."""

    senders: Names = msgspec.field(name="from", default=())
    to: Names = ()
    messages: Names = ()
    """Names of the protocol's messages, as transcripts have them."""
    from_ms: Ms = 0
    to_ms: Ms | None = None
    """The first moment without it; none: the calm."""
    delay: Constant | Uniform | Normal | LogNormal | None = None
    loss: Share = 0.0
    repeat: Share = 0.0
    reorder: Reorder | None = None
    cut: bool = False
    """Nothing passes, in this direction."""

    def faults(self) -> Iterator[str]:
        """What is wrong with it, and what to change."""
        if self.to_ms is not None and self.to_ms <= self.from_ms:
            yield "it ends before it begins; make to_ms larger than from_ms"
        if isinstance(self.delay, Uniform) and self.delay.min_ms > self.delay.max_ms:
            yield "its delay has min_ms above max_ms; swap them"
        if not (self.delay or self.reorder or self.loss or self.repeat or self.cut):
            yield "it does nothing; give it delay, loss, repeat, reorder or cut"


class Regions(Strict, frozen=True, kw_only=True):
    """Where members are, and how long a message takes from place to place."""

    members: dict[str, str]
    """Member to region. Who is in none has the usual delay only."""
    delay_ms: Annotated[dict[str, dict[str, Delay]], Meta(max_length=REGIONS_MAX)]
    """One way, from the outer name to the inner."""
    jitter: Share = 0.0
    """A message takes up to this fraction longer."""

    def faults(self) -> Iterator[str]:
        """What is wrong with it, and what to change."""
        used = sorted(set(self.members.values()))
        for one in used:
            for other in used:
                if other not in self.delay_ms.get(one, {}):
                    yield f"there is no delay from {one!r} to {other!r}; add it to delay_ms"


class Jump(Strict, frozen=True, kw_only=True):
    """A clock is set forward (timers are due earlier), or back if negative."""

    at_ms: Ms
    by_ms: Annotated[int, Meta(ge=-DELAY_MS_MAX, le=DELAY_MS_MAX)]


class Clock(Strict, frozen=True, kw_only=True):
    """A member's clock, by which its timers run."""

    node: str
    drift_ppm: Annotated[int, Meta(ge=-DRIFT_PPM_MAX, le=DRIFT_PPM_MAX)] = 0
    """Parts per million by which it is fast, or slow if negative."""
    jumps: Annotated[tuple[Jump, ...], Meta(max_length=JUMPS_MAX)] = ()

    def after(self, delay_ms: int) -> int:
        """True milliseconds that pass while this clock counts `delay_ms`."""
        return delay_ms * 1_000_000 // (1_000_000 + self.drift_ppm)
