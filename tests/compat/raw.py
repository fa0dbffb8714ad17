"""Bytes that are hardly HTTP: each goes over a connection of its own, to a monitor that has done nothing yet."""

GET = b"GET / HTTP/1.1\r\n"

RAW = [
    GET + b"\r\n", GET + b"\r\n" + GET + b"\r\n", b"get / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n",
    b"GET /\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"garbage\r\n\r\n", b"\r\nGET / HTTP/1.1\r\n\r\n",
    GET + b"foo\r\n\r\n", GET + b"Foo: bar\r\n\r\n", GET + b"Content-Length: x\r\n\r\n",
    GET + b"Content-Length: -1\r\n\r\n", GET + b"Content-Type: text/html\r\n\r\n", GET + b"Connection: close\r\n\r\n",
    GET + b"Accept-Encoding: identity;q=0\r\n\r\n", GET + b"Accept-Encoding: gzip\r\n\r\n",
    GET + b"X: " + b"a" * 900 + b"\r\n\r\n", b"GET /" + b"a" * 900 + b" HTTP/1.1\r\n\r\n",
    b"GET http://localhost/version HTTP/1.1\r\n\r\n", b"GET http://localhost HTTP/1.1\r\n\r\n",
    b"PUT /mmds HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"PUT /mmds HTTP/1.1\r\n\r\n",
    b"PUT /mmds HTTP/1.1\r\nContent-Length: 60000\r\n\r\n",
    b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"PUT /boot-source HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    GET + b"\r\nxx\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"PUT /boot-source HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    GET + b"Content-Length: 2\r\n\r\n{}", b"DELETE /drives/a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    GET + b"X:\r\nContent-Length: 2\r\n\r\n{}", GET + b"X:\r\nAccept-Encoding: identity;q=0\r\n\r\n",
    b"PUT /boot-source HTTP/1.1\r\nX:\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
]
