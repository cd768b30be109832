"""What can go wrong with a network under one hand. Every message says what to change.

NetworkError
+-- WrongUse            the caller asked for something that does not exist
+-- NotANetwork         the directory holds no network, or one that cannot be read
+-- AlreadyUp           a network runs in this directory already
+-- PortsInUse          somebody else listens where a node should
+-- Unfit               this machine or interpreter cannot run a node
+-- NodeDied            a node ended although it should run
+-- NotInTime           what was waited for did not happen
+-- Unreachable         no node answered
+-- ApiError            a node answered, and the answer is a refusal
"""


class NetworkError(Exception):
    """The root of what this folder raises. The message is for a person."""

    word = "network"
    """A stable word for programs."""


class WrongUse(NetworkError):
    word = "wrong_use"


class NotANetwork(NetworkError):
    word = "not_a_network"


class AlreadyUp(NetworkError):
    word = "already_up"


class PortsInUse(NetworkError):
    word = "ports_in_use"


class Unfit(NetworkError):
    word = "unfit"


class NodeDied(NetworkError):
    word = "node_died"


class NotInTime(NetworkError):
    word = "not_in_time"


class Unreachable(NetworkError):
    word = "unreachable"


class ApiError(NetworkError):
    """A node's refusal: the HTTP status, the API's code, and a sentence."""

    word = "api"

    def __init__(self, status: int, code: str, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{text} ({code})" if text else code)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        """How long the node asks to wait; 0 where it does not say."""
