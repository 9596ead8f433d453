"""A stock gRPC client against our server: unary, errors, a stream, a deadline. Raw bytes, no stubs."""
import sys

import grpc

port, bundle, name = sys.argv[1:4]
SERVICE = "/evercopy.test.Echo/"


def read(path):
    with open(f"{bundle}/{path}", "rb") as f:
        return f.read()


def failure(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except grpc.RpcError as e:
        return e
    raise AssertionError("the call should have failed")


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return bytes([number << 3 | 2]) + varint(len(data)) + data


credentials = grpc.ssl_channel_credentials(read("ca.crt"), read(f"{name}.key"), read(f"{name}.crt"))
options = [("grpc.max_receive_message_length", 8 << 20)]
with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
    echo = channel.unary_unary(SERVICE + "Echo")
    fail = channel.unary_unary(SERVICE + "Fail")
    later = channel.unary_unary(SERVICE + "Later")
    flow = channel.unary_stream(SERVICE + "Flow")

    small = field(1, "Grüße".encode())
    assert echo(small, timeout=10) == small
    big = field(1, b"x" * (3 << 20))
    assert echo(big, timeout=10) == big

    e = failure(echo, field(1, b"x" * (5 << 20)), timeout=10)
    assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
    assert echo(small, timeout=10) == small

    e = failure(fail, field(1, "50% bad\nline é".encode()), timeout=10)
    assert e.code() == grpc.StatusCode.ABORTED, e
    assert e.details() == "50% bad\nline é", e.details()
    assert dict(e.trailing_metadata())["evercopy-error-bin"].startswith(b"\x0a\x06FENCED")

    e = failure(later, field(1, b"2000"), timeout=0.2)
    assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED, e

    e = failure(channel.unary_unary(SERVICE + "Nothing"), b"", timeout=10)
    assert e.code() == grpc.StatusCode.UNIMPLEMENTED, e

    e = failure(echo, small, timeout=10, compression=grpc.Compression.Gzip)
    assert e.code() == grpc.StatusCode.UNIMPLEMENTED, e

    request = field(1, b"2000") + b"\x10" + varint(500)
    assert sum(1 for _ in flow(request, timeout=10)) == 500

    stream = flow(field(1, b"2000") + b"\x10" + varint(1000000), timeout=10)
    next(stream)
    stream.cancel()

with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(read("ca.crt"))) as channel:
    e = failure(channel.unary_unary(SERVICE + "Echo"), small, timeout=10)
    assert e.code() == grpc.StatusCode.UNAVAILABLE, e
