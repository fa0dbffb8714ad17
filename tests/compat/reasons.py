"""Why mayfly's answer is another one, request by request: (scenario, request, kinds, reason), the first two as
patterns; kinds are "status", "body" or both. A status may differ only for what mayfly does not have."""

REASONS = [
]

VERSION = ('"1.17.0-dev"', '"1.17.0"')


def same(came, want):
    """Equal but for the version's name."""
    return came[3:5] == want[3:5] and strip(came[5]) == strip(want[5])


def strip(text):
    text = text.replace(*VERSION)
    return text.replace("Content-Length: 101", "Content-Length: 97").replace("Content-Length: 36", "Content-Length: 32")
