"""Why mayfly's answer is another one, request by request: (scenario, request, kinds, reason), the first two as
patterns; kinds are "status", "body" or both. A status may differ only where a reason says so."""

TWO = "two mistakes in one body: serde finds them in the order of the text, we read all of it first"
WORDS = "not JSON, and said in other words or of another place in the text"
PLACE = "the path is refused, in other words"
PARSER = "not HTTP: http_parser has stopped before it knew the header that the words name"

REASONS = [
    ("raw", "GET /\\r*", "body", "HTTP/0.9: http_parser sees a version that is not supported"),
    ("raw", "GET / HTTP/1.1\\r\\nfoo\\r*", "body", PARSER),
    ("raw", "GET / HTTP/1.1\\r\\nContent-Length: *", "body", PARSER),
    ("raw", "PUT /boot-source*Content-Length: 2*Content-Length: 2*", "status body",
     "two lengths are how requests are smuggled past a proxy"),
    ("raw", "GET / HTTP/1.1\\r\\n\\r\\nxx*", "status body",
     "the request before the mistake is answered; Firecracker drops it"),
    ("raw", "GET / HTTP/1.1\\r\\n\\r\\nGET / *", "body", "the version's name, twice"),
    ("routing", "PUT /snapshot *", "body", PLACE),
    ("routing", "PUT /snapshot/x *", "body", PLACE),
    ("before", "PUT /boot-source [[]1", "body", TWO),
    ("before", "PUT /boot-source {}*", "body", TWO),
    ("before", 'PUT /boot-source {"a"*', "body", TWO),
    ("before", "PUT /boot-source -", "body", WORDS),
    ("before", 'PUT * {"a\\n":1}', "body", WORDS),
    ("before", "PUT /mmds *", "body", WORDS),
    ("before", 'PUT /machine-config *"cpu_template":"T2*', "status body",
     "Firecracker's deprecated templates are not there; /cpu-config is"),
    ("before", "GET /machine-config", "body", "shows the template of the request above"),
    ("before", "GET /vm/config", "body", "shows the template of the request above"),
    ("before", "PATCH /machine-config [[]]", "body", "an array is no object"),
    ("*", "PUT /snapshot/load *", "body", "there are more fields, which the refusal lists"),
    ("nobody-drives", "GET /vm/config", "body", "a pmem's limit as it is now; Firecracker shows the one that was PUT"),
    ("paused", 'PUT /snapshot/create *', "body", "the reason comes in other words"),
]

VERSION = ('"1.17.0-dev"', '"1.17.0"')


def same(came, want):
    """Equal but for the version's name."""
    return came[3:5] == want[3:5] and strip(came[5]) == strip(want[5])


def strip(text):
    text = text.replace(*VERSION)
    return text.replace("Content-Length: 101", "Content-Length: 97").replace("Content-Length: 36", "Content-Length: 32")
