"""Every method of the descriptor set, by every role: allowed or refused as tests/clients/roles.tsv says.

   roles.py ADDRESS FOLDER DESCRIPTORS DB   FOLDER holds ca.crt and ROLE.crt, ROLE.key for each role"""
import sys

import grpc

from wire import Channel, Wire, try_
import wire as shared

ROLES = ("dbhost", "restore", "operator", "monitor", "admin")
NEVER = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED)

address, folder, descriptors, db = sys.argv[1:5]
wire = Wire(descriptors)
channels = {role: Channel(wire, address, folder, role) for role in ROLES}
with open(__file__.replace("roles.py", "roles.tsv"), encoding="utf-8") as f:
    expected = dict(line.rstrip("\n").split("\t") for line in f if not line.startswith("#"))


def status_of(role, service, method):
    """How a call with next to nothing in it ends; a stream that says something is as good as OK."""
    name = f"{service}/{method.name}"
    fields = wire.message(method.input_type).DESCRIPTOR.fields_by_name
    values = {"db_unique_name": db} if "db_unique_name" in fields else {}
    try:
        answer = channels[role].call(name, timeout=10, **values)
        if method.server_streaming:
            for _ in answer:
                answer.cancel()
                break
    except grpc.RpcError as e:
        if e.code() == grpc.StatusCode.CANCELLED:
            return grpc.StatusCode.OK
        return e.code()
    return grpc.StatusCode.OK


def state():
    """What a refused call must not change."""
    admin = channels["admin"]
    return [str(admin.call(name, db_unique_name=db)) for name in
            ("Jobs/ListJobs", "Clones/ListClones", "Snapshots/ListSnapshots", "Backups/GetLease")]


def check(service, method):
    allowed = expected[f"{service}/{method.name}"].split()
    before = state()
    for role in ROLES:
        if role in allowed or "certificate" in allowed:
            continue
        code = status_of(role, service, method)
        assert code == grpc.StatusCode.PERMISSION_DENIED, f"{role}: {code}"
    assert state() == before, "a refused call changed something"
    for role in ROLES:
        if role in allowed or "certificate" in allowed:
            code = status_of(role, service, method)
            assert code not in NEVER, f"{role}: {code}"


def names(service, method):
    return f"{service}.{method.name}".replace("evercopy.v1.", "").replace(".", "_")


for service, method in wire.methods():
    try_(f"roles_of_{names(service, method)}", lambda: check(service, method))
known = {f"{service}/{method.name}" for service, method in wire.methods()}


def no_row_is_left_over():
    assert set(expected) == known, set(expected) ^ known


try_("roles_tsv_names_what_there_is", no_row_is_left_over)
sys.exit(1 if shared.failed else 0)
