"""What the Python clients share: messages out of the descriptor set, channels, and verdicts."""
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

failed = 0


def try_(name, check):
    """Prints 'ok name', or 'not ok name: what was seen'."""
    global failed
    try:
        check()
        print(f"ok {name}", flush=True)
    except Exception as e:  # a test's verdict, whatever went wrong
        failed += 1
        text = f"{e.code()} {e.details()}" if isinstance(e, grpc.RpcError) else f"{type(e).__name__} {e}"
        print(f"not ok {name}: line {sys.exc_info()[2].tb_next.tb_lineno}: {text}", flush=True)


def fails(code, call, *args, **kwargs):
    """The call must end so; returns what it said."""
    try:
        result = call(*args, **kwargs)
        if hasattr(result, "__next__"):
            for _ in result:
                pass
    except grpc.RpcError as e:
        assert e.code() == code, f"{e.code()} instead of {code}: {e.details()}"
        return e
    raise AssertionError(f"it succeeded instead of {code}")


class Wire:
    """Every service and message of a descriptor set."""

    def __init__(self, path):
        self.set = descriptor_pb2.FileDescriptorSet()
        with open(path, "rb") as f:
            self.set.ParseFromString(f.read())
        self.pool = descriptor_pool.DescriptorPool()
        for file in self.set.file:
            self.pool.Add(file)
        self.factory = message_factory.MessageFactory(self.pool)

    def methods(self):
        for file in self.set.file:
            for service in file.service:
                for method in service.method:
                    yield f"{file.package}.{service.name}", method

    def message(self, name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(name.lstrip(".")))


class Channel:
    """One identity's connection; call("Backups/GetLease", ...) with fields by name."""

    def __init__(self, wire, address, folder, who):
        self.wire = wire

        def read(name):
            with open(f"{folder}/{name}", "rb") as f:
                return f.read()

        credentials = grpc.ssl_channel_credentials(read("ca.crt"), read(f"{who}.key"), read(f"{who}.crt"))
        self.channel = grpc.secure_channel(
            address, credentials, [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
        self.rows = {f"{service}/{method.name}": method for service, method in wire.methods()}

    def call(self, name, /, request=None, timeout=20, compression=None, **fields):
        if name.count(".") == 0:
            name = f"evercopy.v1.{name}"
        method = self.rows[name]
        kind = ("stream" if method.client_streaming else "unary") + "_" + ("stream" if method.server_streaming else "unary")
        stub = getattr(self.channel, kind)(
            f"/{name}", request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=self.wire.message(method.output_type).FromString)
        if request is None:
            request = self.request(name, **fields)
            if method.client_streaming:
                request = iter([request])
        return stub(request, timeout=timeout, compression=compression)

    def request(self, name, /, **fields):
        if name.count(".") == 0:
            name = f"evercopy.v1.{name}"
        return self.wire.message(self.rows[name].input_type)(**fields)

    def close(self):
        self.channel.close()
