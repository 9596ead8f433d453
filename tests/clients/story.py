"""The demo's story by a stock Python client.  story.py ADDRESS FOLDER DESCRIPTORS DB DB_NAME"""
import json
import sys
import threading
import time

import grpc

from wire import Channel, Wire, fails, try_
import wire as shared

address, folder, descriptors, db, db_name = sys.argv[1:6]
wire = Wire(descriptors)
people = Channel(wire, address, folder, "operator")
host = Channel(wire, address, folder, f"host-{db}")
Code = grpc.StatusCode
run = {}


def status_is_ok():
    row, = people.call("Databases/GetStatus", db_unique_name=db).databases
    assert row.verdict == 1 and row.snapshot_count >= 1, row
    run["dbid"] = row.dbid


def the_window_holds_what_the_last_run_reached():
    window = people.call("Recovery/GetWindow", db_unique_name=db)
    assert window.intervals, window
    run["first"], run["last"] = window.intervals[-1].first_scn, window.intervals[-1].last_scn
    assert run["first"] < run["last"]


def snapshots_are_listed_with_their_manifests():
    snapshots = people.call("Snapshots/ListSnapshots", db_unique_name=db).snapshots
    assert [s.kind for s in snapshots][-1] == "post", snapshots
    run["snapshot"] = snapshots[-1].name
    manifest = people.call("Snapshots/GetManifest", db_unique_name=db, snapshot=run["snapshot"])
    assert json.loads(manifest.manifest_json) and json.loads(manifest.facts_json)


def a_plan_reaches_a_target_and_says_why_not():
    plan = people.call("Recovery/PlanRecovery", db_unique_name=db, scn=run["last"])
    assert plan.reachable and plan.recipe.files and plan.recipe.until_scn == run["last"], plan
    plan = people.call("Recovery/PlanRecovery", db_unique_name=db, scn=run["last"] + 10 ** 9)
    assert not plan.reachable and plan.why and plan.nearest_below_scn == run["last"], plan


def a_clone_is_made_listed_and_dropped():
    key = f"story-{time.time_ns()}"
    request = dict(idempotency_key=key, db_unique_name=db, name="storypy", snapshot=run["snapshot"], purpose="story")
    clone = people.call("Clones/CreateClone", **request).clone
    assert clone.name == "storypy" and clone.mount, clone
    again = people.call("Clones/CreateClone", **request).clone
    assert again.name == clone.name and again.created_us == clone.created_us, again
    assert "storypy" in [c.name for c in people.call("Clones/ListClones", db_unique_name=db).clones]
    people.call("Clones/DropClone", db_unique_name=db, name="storypy")
    assert "storypy" not in [c.name for c in people.call("Clones/ListClones", db_unique_name=db).clones]
    fails(Code.NOT_FOUND, people.call, "Clones/DropClone", db_unique_name=db, name="storypy")


def a_database_host_may_not_clone():
    e = fails(Code.PERMISSION_DENIED, host.call, "Clones/CreateClone", db_unique_name=db)
    assert dict(e.trailing_metadata())["evercopy-error-bin"].startswith(b"\x0a\x06DENIED")


def a_run_begins_once():
    request = dict(idempotency_key="story-begin", db_unique_name=db, dbid=run["dbid"], db_name=db_name, host="story", pid=7)
    grant = host.call("Backups/BeginBackup", **request)
    assert grant.job and grant.fencing_token and not grant.first_run, grant
    assert host.call("Backups/BeginBackup", **request).job == grant.job
    request["idempotency_key"] = "another"
    fails(Code.ABORTED, host.call, "Backups/BeginBackup", **request)
    assert host.call("Backups/GetLease", db_unique_name=db).job == grant.job
    run["job"], run["token"] = grant.job, grant.fencing_token
    host.call("Backups/ReportPhase", job=run["job"], fencing_token=run["token"], phase="logs")


def parts(first, count, size=100, token=None):
    for at in range(first, first + count, size):
        yield host.request("Backups/UploadLog", job=run["job"], fencing_token=token or run["token"], first_line=at,
                           lines=[b"line %d \xff" % n for n in range(at, min(at + size, first + count))])


def a_log_is_uploaded_while_another_follows_it():
    seen = []

    def follow():
        for line in people.call("Jobs/FollowLog", job=run["job"], follow=True, timeout=30):
            seen.append((line.number, line.text))

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    reply = host.call("Backups/UploadLog", request=parts(0, 2000))
    assert reply.next_line == 2000, reply
    run["reader"], run["seen"] = reader, seen


def an_upload_goes_on_where_it_was_cut():
    call = host.call("Backups/AppendLog", job=run["job"], fencing_token=run["token"])
    assert call.next_line == 2000, call
    cut = threading.Event()

    def some():
        yield from parts(2000, 50)
        cut.wait(10)

    channel = Channel(wire, address, folder, f"host-{db}")
    thread = threading.Thread(target=lambda: fails(Code.CANCELLED, channel.call, "Backups/UploadLog", request=some()))
    thread.start()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        known = host.call("Backups/AppendLog", job=run["job"], fencing_token=run["token"]).next_line
        if known == 2050:
            break
    channel.close()
    cut.set()
    thread.join(10)
    assert known == 2050, known
    reply = host.call("Backups/UploadLog", request=parts(2040, 60))
    assert reply.next_line == 2100, reply


def a_lost_lease_ends_an_upload_early():
    fails(Code.ABORTED, host.call, "Backups/UploadLog", request=parts(2100, 100000, token=run["token"] + 1))
    known = host.call("Backups/AppendLog", job=run["job"], fencing_token=run["token"]).next_line
    assert known == 2100, known


def an_upload_is_of_one_job_and_not_empty():
    mixed = list(parts(2100, 0)) + [host.request("Backups/UploadLog", job=run["job"], fencing_token=run["token"]),
                                    host.request("Backups/UploadLog", job="other", fencing_token=run["token"])]
    fails(Code.INVALID_ARGUMENT, host.call, "Backups/UploadLog", request=iter(mixed))
    fails(Code.INVALID_ARGUMENT, host.call, "Backups/UploadLog", request=iter([]))
    far = host.request("Backups/UploadLog", job=run["job"], fencing_token=run["token"], first_line=1 << 40, lines=[b"x"])
    fails(Code.RESOURCE_EXHAUSTED, host.call, "Backups/UploadLog", request=iter([far]))


def logs_and_copies_are_checked_and_a_snapshot_taken():
    held = dict(job=run["job"], fencing_token=run["token"])
    assert host.call("Backups/CheckLogs", **held).complete
    assert host.call("Backups/CheckCopies", **held).copies
    request = dict(kind="pre", idempotency_key="story-pre", **held)
    snapshot = host.call("Snapshots/TakeSnapshot", **request).snapshot
    assert snapshot.run == run["job"] and snapshot.datafiles, snapshot
    assert host.call("Snapshots/TakeSnapshot", **request).snapshot.name == snapshot.name
    host.call("Backups/ReportPhase", phase="merge", **held)
    fails(Code.FAILED_PRECONDITION, host.call, "Snapshots/TakeSnapshot", kind="pre", idempotency_key="story-again", **held)


def a_deadline_and_a_cancellation_end_a_stream():
    fails(Code.DEADLINE_EXCEEDED, people.call, "Jobs/FollowLog", job=run["job"], follow=True, timeout=0.3)
    stream = people.call("Jobs/FollowLog", job=run["job"], follow=True)
    next(stream)
    stream.cancel()
    assert people.call("Databases/GetStatus", db_unique_name=db).databases


def the_end_of_the_run_ends_the_stream():
    done = host.call("Backups/FinishBackup", job=run["job"], fencing_token=run["token"], verdict=3, phase="merge", cause="story over")
    assert done.verdict == 3 and done.cause == "story over", done
    run["reader"].join(10)
    assert not run["reader"].is_alive(), "the stream goes on"
    assert run["seen"] == [(n, b"line %d \xff" % n) for n in range(2100)], len(run["seen"])
    job, = [j for j in people.call("Jobs/ListJobs", db_unique_name=db, limit=5).jobs if j.id == run["job"]]
    assert job.state == "failed" and job.cause.endswith("story over"), job
    fails(Code.ABORTED, host.call, "Backups/ReportPhase", job=run["job"], fencing_token=run["token"])


def what_is_too_big_is_refused_and_the_connection_goes_on():
    fails(Code.RESOURCE_EXHAUSTED, host.call, "Backups/AppendLog", job="x", lines=[b"x" * (5 << 20)])
    fails(Code.RESOURCE_EXHAUSTED, host.call, "Backups/UploadLog",
          request=iter([host.request("Backups/UploadLog", job="x", lines=[b"x" * (5 << 20)])]))
    assert people.call("Databases/GetStatus", db_unique_name=db).databases


def what_is_compressed_is_refused():
    fails(Code.UNIMPLEMENTED, people.call, "Databases/GetStatus", compression=grpc.Compression.Gzip)


def health_is_told():
    health = "grpc.health.v1.Health/"
    assert host.call(health + "Check").status == 1
    assert host.call(health + "Check", service="evercopy.v1.Backups").status == 1
    fails(Code.NOT_FOUND, host.call, health + "Check", service="evercopy.v9.Backups")
    watch = host.call(health + "Watch")
    assert next(watch).status == 1
    watch.cancel()


for step in (
        health_is_told, status_is_ok, the_window_holds_what_the_last_run_reached,
        snapshots_are_listed_with_their_manifests, a_plan_reaches_a_target_and_says_why_not,
        a_clone_is_made_listed_and_dropped, a_database_host_may_not_clone, a_run_begins_once,
        a_log_is_uploaded_while_another_follows_it, an_upload_goes_on_where_it_was_cut,
        a_lost_lease_ends_an_upload_early, an_upload_is_of_one_job_and_not_empty,
        logs_and_copies_are_checked_and_a_snapshot_taken, a_deadline_and_a_cancellation_end_a_stream,
        the_end_of_the_run_ends_the_stream, what_is_too_big_is_refused_and_the_connection_goes_on,
        what_is_compressed_is_refused):
    try_(f"python_{step.__name__}", step)
sys.exit(1 if shared.failed else 0)
