"""Whether a descriptor set still serves those who hold an older one.

   compat.py OLD NEW   says every break, one a line; the exit code tells whether there was one
   compat.py --referee OLD   breaks a copy of OLD in every way it knows and demands that each is found"""
import copy
import sys

from google.protobuf import descriptor_pb2

F = descriptor_pb2.FieldDescriptorProto


def read(path):
    found = descriptor_pb2.FileDescriptorSet()
    with open(path, "rb") as f:
        found.ParseFromString(f.read())
    return found


def walk(scope, package, messages, enums):
    for message in scope:
        name = f"{package}.{message.name}"
        messages[name] = message
        walk(message.nested_type, name, messages, enums)
        enums.update({f"{name}.{e.name}": e for e in message.enum_type})


class Index:
    def __init__(self, files):
        self.messages, self.enums, self.methods = {}, {}, {}
        for file in files.file:
            self.enums.update({f"{file.package}.{e.name}": e for e in file.enum_type})
            walk(file.message_type, file.package, self.messages, self.enums)
            for service in file.service:
                for method in service.method:
                    self.methods[f"{file.package}.{service.name}/{method.name}"] = method


def reserved(message, number):
    return any(r.start <= number < r.end for r in message.reserved_range)


def field_breaks(name, old, new):
    """old's field against the one that has its number now."""
    if new is None:
        return f"field {name} = {old.number} was removed"
    if new.name != old.name:
        return f"field {name} = {old.number} is called {new.name} now"
    if (new.type, new.type_name) != (old.type, old.type_name):
        return f"field {name} = {old.number} changed its type"
    if new.label != old.label:
        return f"field {name} = {old.number} is {'now' if new.label == F.LABEL_REPEATED else 'no longer'} repeated"
    if new.HasField("oneof_index") != old.HasField("oneof_index"):
        return f"field {name} = {old.number} moved into or out of a oneof"
    return None


def message_breaks(name, old, new):
    if new is None:
        yield f"message {name} was removed"
        return
    now = {f.number: f for f in new.field}
    for field in old.field:
        what = field_breaks(f"{name}.{field.name}", field, now.get(field.number))
        if what:
            yield what
    for number in (n for n in now if reserved(old, n)):
        yield f"field {name}.{now[number].name} = {number} uses a number that was given up"
    for gone in old.reserved_range:
        if not all(reserved(new, n) for n in range(gone.start, min(gone.end, gone.start + 1000))):
            yield f"message {name} no longer reserves {gone.start}"


def enum_breaks(name, old, new):
    if new is None:
        yield f"enum {name} was removed"
        return
    now = {v.number: v.name for v in new.value}
    for value in old.value:
        if now.get(value.number) != value.name:
            yield f"enum value {name}.{value.name} = {value.number} was removed or renamed"


def method_breaks(name, old, new):
    if new is None:
        yield f"method {name} was removed"
        return
    if (old.input_type, old.output_type) != (new.input_type, new.output_type):
        yield f"method {name} changed its messages"
    if (old.client_streaming, old.server_streaming) != (new.client_streaming, new.server_streaming):
        yield f"method {name} changed what streams"


def house_breaks(new):
    """Rules of our own: protobuf-c knows no `optional`, and unpacking must have a bounded depth."""
    for name, message in new.messages.items():
        if any(f.proto3_optional for f in message.field):
            yield f"message {name} has an optional field"
        if reaches(new, name, name, set()):
            yield f"message {name} contains itself"


def reaches(index, start, target, seen):
    for field in index.messages[start].field if start in index.messages else ():
        inner = field.type_name.lstrip(".")
        if field.type != F.TYPE_MESSAGE or inner in seen:
            continue
        seen.add(inner)
        if inner == target or reaches(index, inner, target, seen):
            return True
    return False


def breaks(old_set, new_set):
    old, new = Index(old_set), Index(new_set)
    found = []
    for kind, check in (("messages", message_breaks), ("enums", enum_breaks), ("methods", method_breaks)):
        for name, thing in getattr(old, kind).items():
            found += check(name, thing, getattr(new, kind).get(name))
    return found + list(house_breaks(new))


# ---- the referee: one break each, somewhere in a copy ----

def file_of(files, name="evercopy/v1/backups.proto"):
    return next(f for f in files.file if f.name == name)


def message_of(files, name="BeginBackupReply"):
    return next(m for m in file_of(files).message_type if m.name == name)


def remove_field(files): del message_of(files).field[1]
def renumber_field(files): message_of(files).field[1].number = 77
def rename_field(files): message_of(files).field[1].name = "other"
def change_type(files): message_of(files).field[1].type = F.TYPE_STRING
def change_signedness(files): message_of(files).field[1].type = F.TYPE_INT64
def change_message_type(files): message_of(files, "CheckLogsReply").field[0].type_name = ".evercopy.v1.CopyState"
def make_repeated(files): message_of(files).field[1].label = F.LABEL_REPEATED
def remove_message(files): del file_of(files).message_type[0]
def remove_method(files): del file_of(files).service[0].method[0]
def remove_service(files): del file_of(files).service[0]
def rename_service(files): file_of(files).service[0].name = "Backup"
def rename_package(files): file_of(files).package = "evercopy.v2"
def remove_file(files): files.file.remove(file_of(files))
def change_reply(files): file_of(files).service[0].method[0].output_type = ".evercopy.v1.LogId"
def remove_value(files): del file_of(files, "evercopy/v1/common.proto").enum_type[0].value[-1]
def renumber_value(files): file_of(files, "evercopy/v1/common.proto").enum_type[0].value[-1].number = 9


def change_streaming(files):
    method = file_of(files).service[0].method[0]
    method.server_streaming = not method.server_streaming


def end_streaming(files):
    method = next(m for m in file_of(files).service[0].method if m.client_streaming)
    method.client_streaming = False


def swap_numbers(files):
    a, b = message_of(files).field[4], message_of(files).field[1]
    a.number, b.number = b.number, a.number


def recurse(files):
    message_of(files).field.add(name="self", number=90, label=1, type=F.TYPE_MESSAGE, type_name=".evercopy.v1.BeginBackupReply")


def make_optional(files): message_of(files).field.add(name="x", number=90, label=1, type=F.TYPE_BOOL, proto3_optional=True)


BREAKS = (remove_field, renumber_field, rename_field, change_type, change_signedness, change_message_type,
          make_repeated, remove_message, remove_method, remove_service, rename_service, rename_package, remove_file,
          change_reply, remove_value, renumber_value, change_streaming, end_streaming, swap_numbers, recurse, make_optional)


def add_field(files): message_of(files).field.add(name="fresh", number=90, label=1, type=F.TYPE_BYTES)
def add_value(files): file_of(files, "evercopy/v1/common.proto").enum_type[0].value.add(name="VERDICT_MORE", number=9)
def add_message(files): file_of(files).message_type.add(name="Fresh").field.add(name="a", number=1, label=1, type=F.TYPE_BOOL)


def add_method(files):
    file_of(files).service[0].method.add(name="Fresh", input_type=".evercopy.v1.LogId", output_type=".evercopy.v1.LogId")


def add_file(files): files.file.add(name="evercopy/v1/fresh.proto", package="evercopy.v1").message_type.add(name="Whole")


ADDITIONS = (add_field, add_value, add_message, add_method, add_file)


def referee(path):
    failed = 0
    for change in BREAKS + ADDITIONS:
        old = read(path)
        new = copy.deepcopy(old)
        change(new)
        assert new != old, change.__name__
        found = breaks(old, new)
        wrong = bool(found) == (change in ADDITIONS)
        failed += wrong
        verb = "is_allowed" if change in ADDITIONS else "is_found"
        print(f"{'not ok' if wrong else 'ok'} {change.__name__}_{verb}{': ' + '; '.join(found) if wrong else ''}")
    return failed


if sys.argv[1] == "--referee":
    sys.exit(1 if referee(sys.argv[2]) else 0)
FOUND = breaks(read(sys.argv[1]), read(sys.argv[2]))
print("\n".join(FOUND) if FOUND else "compatible")
sys.exit(1 if FOUND else 0)
