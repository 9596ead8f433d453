"""Whether what the agent lists, what lies on its storage and what its catalog says are one world.

kill_verbs.py BIN WORK STORAGE DB DIGEST MODE: ends with 0 and a digest of that world in DIGEST, or with 1
and a sentence on stdout. MODE: `judge` asks everything; `digest` nothing but what lies on disk.
"""
import json
import os
import re
import sqlite3
import subprocess
import sys
import time

BIN, WORK, STORAGE, DB, DIGEST, MODE = sys.argv[1:7]
SETTLE_S = 20
ENV = {k: v for k, v in os.environ.items() if k in ('ASAN_OPTIONS', 'UBSAN_OPTIONS')}
RESIDUE = re.compile(r'^\.tmp-|\.tmp$|\.new$|^\.probe')
wrong = []


def saw(text):
    wrong.append(text)


def ask(*words):
    done = subprocess.run([f'{BIN}/evercopy', *words, '--json', '--config', f'{WORK}/etc/operator.shim.conf'],
                          env=ENV, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    told = words[0] == 'status' and done.returncode in (161, 162)  # its code is the worst verdict
    if done.returncode != 0 and not told:
        saw(f'{words[0]} ends with {done.returncode}: {done.stderr[:200]}')
        return {}
    return json.loads(done.stdout)


def same(left, right, what):
    if left != right:
        lists = isinstance(left, list) and isinstance(right, list)
        saw(f'{what}: {sorted(set(left) ^ set(right)) if lists else (left, right)}')


def names_in(kind):
    folder = f'{STORAGE}/{kind}/{DB}'
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def read(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        saw(f'{path}: {error}')
        return {}


def check_snapshots(listed):
    same(sorted(s['name'] for s in listed), names_in('snapshots'), 'snapshots listed and on the storage differ')
    for snapshot in listed:
        folder = f'{STORAGE}/snapshots/{DB}/{snapshot["name"]}'
        if not os.path.isdir(folder):
            continue
        record, note = read(f'{folder}/snapshot.json'), read(f'{folder}/note.json')
        files = sum(len(files) for _, _, files in os.walk(f'{folder}/data'))
        same(record.get('files'), files, f'files of {snapshot["name"]}')
        same(sorted(h['id'] for h in snapshot['holds']), sorted(h['id'] for h in note.get('holds', [])),
             f'holds listed and in the note of {snapshot["name"]} differ')
        same(bool(snapshot['lock_left_s']), 'lock' in note, f'lock listed and in the note of {snapshot["name"]} differ')
        whole = snapshot['name'].endswith('-pre') or snapshot['datafiles']  # before the first run there is nothing
        if snapshot['verdict'] not in ('ok', 'warning', 'failed') or not whole:
            saw(f'snapshot {snapshot["name"]} is half made: {snapshot["verdict"]}, {snapshot["datafiles"]} datafiles')


def check_clones(listed):
    same(sorted(c['name'] for c in listed), names_in('clones'), 'clones listed and on the storage differ')
    for clone in listed:
        folder = f'{STORAGE}/clones/{DB}/{clone["name"]}'
        if not os.path.isdir(folder):
            continue
        note = read(f'{folder}/note.json')
        same(clone['expires_us'], note.get('expires_us'), f'the end of clone {clone["name"]}, listed and in its note')
        same(clone['owner'], note.get('owner'), f'the owner of clone {clone["name"]}')
        if not os.path.isdir(clone['mount']) and not os.listdir(f'{folder}/data'):
            saw(f'clone {clone["name"]} is empty')


def check_residue():
    for top in (STORAGE, f'{WORK}/state', f'{WORK}/pki'):
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                if RESIDUE.search(name):
                    saw(f'residue: {folder}/{name}')


def open_catalog():
    return sqlite3.connect(f'file:{WORK}/state/catalog.sqlite?mode=ro', uri=True)


def running():
    return {r[0]: r[1] for r in open_catalog().execute("select id, kind from job where state = 'running'")}


def settle():
    """What a restart finds is finished beside the first calls; until then nothing is to be judged."""
    end = time.monotonic() + SETTLE_S
    while running() and time.monotonic() < end:
        time.sleep(0.02)


def check_catalog(jobs):
    catalog = open_catalog()
    for job, kind in running().items():
        saw(f'job {job} ({kind}) still runs')
    same([], [j['id'] for j in jobs if j['state'] == 'running'], 'jobs listed as running')
    for job, left in catalog.execute('select job, left_ms from lease where left_ms > 0'):
        saw(f'job {job} ended and holds a lease for another {left} ms')
    if catalog.execute('pragma integrity_check').fetchone()[0] != 'ok':
        saw('the catalog is damaged')


def digest():
    catalog = open_catalog()
    rows = [str(row) for query in (
        'select id, kind, state, step from job order by seq',
        'select database, name, snapshot, owner, purpose, expires_us from clone order by name',
        'select snapshot, id, owner, reason, until_us from hold order by id',
        'select database, name, driver_id from snapshot order by name',
        'select name, dbid, storage, volume from database order by name',
        'select database, kind, job, token from lease order by kind') for row in catalog.execute(query)]
    return rows + sorted(os.path.join(folder, name) for kind in ('snapshots', 'clones', 'volumes')
                         for folder, folders, files in os.walk(f'{STORAGE}/{kind}') for name in folders + files)


def check_audit():
    done = subprocess.run([f'{BIN}/evercopyd', '--config', f'{WORK}/etc/evercopyd.conf', 'audit', 'verify', '--json'],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout or '{}')
    if done.returncode != 0 or not report.get('sound') or report.get('alarms'):
        saw(f'audit verify: {done.returncode}, {done.stdout[:300]} {done.stderr[:200]}')


def judge():
    wrong.clear()
    jobs = ask('jobs', DB, '--limit', '1000').get('jobs', [])
    settle()
    jobs = ask('jobs', DB, '--limit', '1000').get('jobs', [])
    snapshots = ask('snapshots', DB).get('snapshots', [])
    clones = ask('clones', DB).get('clones', [])
    status = ask('status', DB).get('databases', [{}])
    preview = ask('retention', DB)
    check_snapshots(snapshots)
    check_clones(clones)
    check_residue()
    check_audit()
    check_catalog(jobs)
    names = sorted(s['name'] for s in snapshots)
    same(names, sorted(d['snapshot'] for d in preview.get('decisions', [])), 'snapshots and retention preview differ')
    same(len(names), status[0].get('snapshots'), 'number of snapshots, listed and in status')
    same(status[0].get('running'), '', 'what runs, in status')


if __name__ == '__main__':
    if MODE == 'judge':
        judge()
        if wrong:  # a call whose shim was killed may only just have come to the agent
            judge()
    else:
        settle()
    with open(DIGEST, 'w') as file:
        file.write('\n'.join(digest()) + '\n')
    print('; '.join(wrong)[:600])
    sys.exit(1 if wrong else 0)
