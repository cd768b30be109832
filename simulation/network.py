"""Decides what links do to messages: the rules of a scenario, applied with draws of its seed.

The draws are a stream of their own: a cluster without rules draws what it always drew.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from simulation.rules import DELAY_MS_MAX, Constant, Link, LogNormal, Normal, Regions, Uniform


@dataclass(slots=True)
class Network:
    """Rules add up: every one that fits a message is applied, in order."""

    links: Sequence[Link]
    regions: Regions | None
    random: random.Random

    def lateness(self, now: int, sender: str, receiver: str, kind: str) -> tuple[int, ...]:
        """Extra milliseconds of each copy that arrives; none if it is lost."""
        copies, late_ms = 1, self._distance(sender, receiver)
        for link in self.links:
            if not _fits(link, now, sender, receiver) or (
                link.messages and kind not in link.messages
            ):
                continue
            if link.cut or (link.loss and self.random.random() < link.loss):
                return ()
            if link.repeat and self.random.random() < link.repeat:
                copies = 2
            if link.delay is not None:
                late_ms += self._drawn(link.delay)
            if link.reorder is not None and self.random.random() < link.reorder.probability:
                late_ms += self.random.randint(0, link.reorder.up_to_ms)
        return (min(late_ms, DELAY_MS_MAX),) * copies

    def joins(self, now: int, one: str, other: str) -> bool:
        """Whether neither direction is cut for all messages."""
        return not any(
            link.cut
            and not link.messages
            and (_fits(link, now, one, other) or _fits(link, now, other, one))
            for link in self.links
        )

    def _distance(self, sender: str, receiver: str) -> int:
        if self.regions is None:
            return 0
        places = self.regions.members
        if sender not in places or receiver not in places:
            return 0
        base_ms = self.regions.delay_ms[places[sender]][places[receiver]]
        return base_ms + self.random.randint(0, int(base_ms * self.regions.jitter))

    def _drawn(self, delay: Constant | Uniform | Normal | LogNormal) -> int:
        match delay:
            case Constant(ms=ms):
                return ms
            case Uniform(min_ms=min_ms, max_ms=max_ms):
                return self.random.randint(min_ms, max_ms)
            case Normal(mean_ms=mean_ms, sd_ms=sd_ms, cap_ms=cap_ms):
                return int(min(max(0.0, self.random.gauss(mean_ms, sd_ms)), cap_ms))
            case LogNormal(median_ms=median_ms, sigma=sigma, cap_ms=cap_ms):
                drawn = self.random.lognormvariate(math.log(median_ms), sigma)
                return int(min(drawn, cap_ms))


def _fits(link: Link, now: int, sender: str, receiver: str) -> bool:
    return (
        link.from_ms <= now
        and (link.to_ms is None or now < link.to_ms)
        and (not link.senders or sender in link.senders)
        and (not link.to or receiver in link.to)
    )
