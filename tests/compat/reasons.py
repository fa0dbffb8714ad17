"""Why mayfly's answer is another one, request by request: (scenario, request, kinds, reason), the first two as
patterns; kinds are "status", "body" or both. A status may differ only where a reason says so."""

TWO = "two mistakes in one body: serde finds them in the order of the text, we read all of it first"

REASONS = [
    ("raw", "PUT /boot-source*Content-Length: 2*Content-Length: 2*", "status body",
     "two lengths are how requests are smuggled past a proxy"),
    ("raw", "GET / HTTP/1.1\\r\\n\\r\\nxx*", "status body",
     "the request before the mistake is answered; Firecracker drops it"),
    ("before", "PUT /boot-source [[]1", "body", TWO),
    ("before", 'PUT /machine-config *"cpu_template":"T2*', "status body",
     "Firecracker's deprecated templates are not there; /cpu-config is"),
    ("before", "GET /machine-config", "body", "shows the template of the request above"),
    ("before", "GET /vm/config", "body", "shows the template of the request above"),
    ("before", "PATCH /machine-config [[]]", "body", "an array is no object: serde takes its elements for fields in the order of a struct, which is no interface"),
    ("nobody-drives", "GET /vm/config", "body", "a pmem's limit as it is now; Firecracker shows the one that was PUT"),
    ("paused", 'PUT /snapshot/create *', "body", "ours names the file that cannot be made; Firecracker's sentence has no name"),
]
