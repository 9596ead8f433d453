"""What every verb says: exit code, the line on stderr, JSON by its schema, figures by their grammar.

words.py BIN WORK CASE: one case; ends with 0, or 1 and a sentence on stdout.
"""
import concurrent.futures
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios

import jsonschema

BIN, WORK, CASE = sys.argv[1:4]
HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMAS = os.path.join(HERE, '..', '..', 'proto', 'json')
ENV = {k: v for k, v in os.environ.items() if k in ('ASAN_OPTIONS', 'UBSAN_OPTIONS')}
LINE = re.compile(r'(OK|WARNING|REFUSED|FAILED|UNKNOWN|UNREACHABLE|STOPPED)( \S+){0,2}: \S.*')
wrong = []


def saw(text):
    wrong.append(text)


def config(who):
    return f'{WORK}/etc/{who}.shim.conf'


def run(args, who='operator', conf=None):
    argv = [f'{BIN}/evercopy', *args] + (['--config', conf or config(who)] if conf != '' else [])
    done = subprocess.run(argv, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, timeout=90)
    return done.returncode, done.stdout, done.stderr


def schema(name):
    with open(f'{SCHEMAS}/{name}.schema.json') as file:
        return json.load(file)


def fits(name, document, what):
    try:
        jsonschema.validate(document, schema(name))
    except jsonschema.ValidationError as e:
        saw(f'{what}: not by {name}.schema.json: {e.json_path}: {e.message[:200]}')


def json_of(out, what):
    try:
        return json.loads(out)
    except ValueError as e:
        saw(f'{what}: stdout is no JSON ({e}): {out[:200]!r}')


# ---- every verb, every failing circumstance ----

# Words, needs a database, needs the agent; exit codes that differ from the circumstance's.
VERBS = [
    (['backup', 'ORCL'], True, True),
    (['setup', 'ORCL'], True, True),
    (['status'], False, True),
    (['status', 'ORCL'], True, True),
    (['check', 'ORCL'], True, True),
    (['check', '--all'], False, True),
    (['report'], False, True),
    (['window', 'ORCL'], True, True),
    (['doctor'], False, True),
    (['doctor', 'ORCL'], True, True),
    (['space', 'ORCL'], True, True),
    (['snapshots', 'ORCL'], True, True),
    (['clones'], False, True),
    (['clone', 'create', 'ORCL', '--scn', '5'], True, True),
    (['clone', 'drop', 'ORCL', 'none'], True, True),
    (['restore', 'ORCL', '--scn', '5', '--dest', f'{WORK}/nowhere'], True, True),
    (['jobs'], False, True),
    (['log', 'backup-of-nobody'], False, True),
    (['cancel', 'backup-of-nobody'], False, True),
    (['clone', 'extend', 'ORCL', 'none', '--for', '1h'], True, True),
]
SUCCESS = re.compile(rb'^(OK|ok|done|restored|all \d|clone .* (dropped|until))', re.M)


def judge(what, args, wanted, result):
    code, out, err = result
    check = args[:1] == ['check']
    first = err.split(b'\n')[0]
    if code != (3 if check else wanted):
        saw(f'{what}: exit code {code}, expected {3 if check else wanted}; {first.decode()}')
    if len(first) > 160 or not LINE.fullmatch(first.decode()):
        saw(f'{what}: first line of stderr is {first!r}')
    if '--json' in args:
        document = json_of(out, what)
        if document is not None:
            fits('error', document, what)
    elif check:
        lines = out.split(b'\n')
        if len(lines) != 2 or not lines[0].startswith(b'UNKNOWN - ') or b'|' in lines[0]:
            saw(f'{what}: the plug-in says {out!r}')
    elif SUCCESS.search(out):
        saw(f'{what}: this looks like success: {out[:200]!r}')


def circumstances():
    with open(config('host-ORCL')) as file:
        good = file.read()
    made = {
        'bad key': (good.replace('[ORCL]', '[ORCL]\nbackupdst = /x'), 160),
        'agent away': (re.sub(r'(?m)^agent = .*', 'agent = 127.0.0.1:1', good), 163),
        'no certificate': (re.sub(r'(?m)^cert = .*', 'cert = /nonexistent.crt', good), 160),
        'other authority': (re.sub(r'(?m)^(cert|key) = .*/etc/', rf'\1 = {WORK}/other/', good), 160),
        'unknown host': (re.sub(r'(?m)^agent = .*', 'agent = agent.invalid:7420', good), 163),
    }
    for name, (text, code) in made.items():
        path = f'{WORK}/etc/{name.replace(" ", "-")}.conf'
        with open(path, 'w') as file:
            file.write(text)
        yield name, path, code
    yield 'no config', '/nonexistent.conf', 160


def table():
    cases = []
    for name, path, code in circumstances():
        for i, (args, _, _) in enumerate(VERBS):
            more = ['--json'] if (i + len(name)) % 2 else []
            cases.append((f'{" ".join(args)} ({name})', args + more, code, dict(conf=path)))
    for args, db, _ in VERBS:
        if db:
            args = ['NODB' if a == 'ORCL' else a for a in args]
            cases.append((' '.join(args), args + ['--json'], 160, dict(who='host-ORCL')))
    for args in (['clone', 'create', 'ORCL', '--scn', '5'], ['clone', 'drop', 'ORCL', 'x']):
        cases.append((f'{" ".join(args)} (role)', args, 160, dict(who='host-ORCL')))
    cases += [
        ('backup (role)', ['backup', 'ORCL'], 160, dict(who='watcher')),
        ('window of another database', ['window', 'EMPTY'], 160, dict(who='host-ORCL')),
        ('clone drop of nothing', ['clone', 'drop', 'ORCL', 'nothing'], 160, {}),
        ('clone create, unknown snapshot', ['clone', 'create', 'ORCL', '--snapshot', 'none', '--json'], 160, {}),
        ('restore without a target', ['restore', 'ORCL', '--dest', f'{WORK}/nowhere'], 160, {}),
        ('log of nothing', ['log', 'nothing', '--json'], 160, {}),
        ('identify of nothing', ['identify', '/nonexistent'], 160, dict(conf='')),
        ('validate of nothing', ['validate', '--file', '/nonexistent', '--json'], 160, dict(conf='')),
        ('nothing', [], 160, dict(conf='')),
        ('unknown verb', ['bakup', 'ORCL'], 160, {}),
        ('unknown verb, JSON', ['bakup', 'ORCL', '--json'], 160, {}),
        ('unknown option', ['status', '--jsn'], 160, {}),
        ('unknown option, JSON', ['status', '--nope', '--json'], 160, {}),
        ('unknown option of check', ['check', 'ORCL', '--nope'], 160, {}),
        ('option without value', ['status', '--zone'], 160, {}),
        ('check of nothing', ['check'], 160, {}),
        ('check of both', ['check', 'ORCL', '--all'], 160, {}),
        ('check, bad limit', ['check', 'ORCL', '--warning', 'soon'], 160, {}),
        ('check, limits crossed', ['check', 'ORCL', '--warning', '3d', '--critical', '1h'], 160, {}),
        ('unknown zone', ['status', '--zone', 'Europe/Nowhere'], 160, {}),
        ('zone outside', ['status', '--zone', '../../etc/passwd'], 160, {}),
        ('zone of which database', ['status', '--zone', 'db'], 160, {}),
        ('too many words', ['status', 'a', 'b'], 160, {}),
        ('too few words', ['window'], 160, {}),
        ('bad limit', ['jobs', '--limit', 'many'], 160, {}),
        ('bad days', ['report', '--days', '0'], 160, {}),
        ('bad address', ['status', '--agent', 'x:y:z'], 160, {}),
        ('a long cause', ['status', '--agent', '.'.join(['h' * 60] * 4)], 163, {}),
    ]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda c: run(c[1], **c[3]), cases)
        for (what, args, code, _), result in zip(cases, results):
            judge(what, args, code, result)
    print(f'# {len(cases)} calls')


def refused_certificate():
    conf = f'{WORK}/etc/other-authority.conf'
    list(circumstances())
    for i in range(5):
        code, _, err = run(['status'], conf=conf)
        if code != 160 or b'another authority' not in err:
            saw(f'round {i}: exit code {code}, {err.decode()}')


# ---- JSON by its schema ----

def schemas():
    snapshot = None
    for name, args in (('status', ['status']), ('status', ['status', 'ORCL']), ('window', ['window', 'ORCL']),
                       ('snapshots', ['snapshots', 'ORCL']),
                       ('snapshots', ['snapshots', 'EMPTY']), ('jobs', ['jobs']), ('jobs', ['jobs', '--limit', '1']),
                       ('clones', ['clones']), ('check', ['check', '--all']), ('check', ['check', 'EMPTY']),
                       ('report', ['report']), ('doctor', ['doctor']), ('doctor', ['doctor', 'EMPTY']),
                       ('space', ['space', 'ORCL'])):
        code, out, err = run(args + ['--json'])
        document = json_of(out, name)
        if document is not None:
            fits(name, document, ' '.join(args))
            snapshot = document['snapshots'][-1]['name'] if document.get('snapshots') else snapshot
    job = json.loads(run(['jobs', 'ORCL', '--json'])[1])['jobs'][-1]['id']
    for line in run(['log', job, '--json'])[1].splitlines():
        fits('log', json_of(line, 'log'), 'log')
    for name, args in (('clone-create', ['clone', 'create', 'ORCL', 'words', '--snapshot', snapshot]),
                       ('clones', ['clones']), ('clone-create', ['clone', 'extend', 'ORCL', 'words', '--for', '2h']),
                       ('clone-drop', ['clone', 'drop', 'ORCL', 'words']),
                       ('snapshot', ['snapshot', 'hold', 'ORCL', snapshot, '--reason', 'words', '--for', '1h']),
                       ('snapshot', ['snapshot', 'hold', 'ORCL', snapshot, '--reason', 'for ever']),
                       ('snapshots', ['snapshots', 'ORCL']), ('retention', ['retention', 'ORCL']),
                       ('snapshot', ['snapshot', 'lock', 'ORCL', snapshot, '--for', '1m']),
                       ('snapshot', ['snapshot', 'verify', 'ORCL', snapshot]),
                       ('renew', ['renew'])):
        code, out, err = run(args + ['--json'])
        if code:
            saw(f'{args}: {err.decode()}')
        fits(name, json_of(out, name), ' '.join(args))
    hold = [h['id'] for s in json.loads(run(['snapshots', 'ORCL', '--json'])[1])['snapshots'] for h in s['holds']][0]
    made = json_of(run(['snapshot', 'release', 'ORCL', snapshot, '--hold', hold, '--json'])[1], 'release')
    fits('snapshot', made, 'snapshot release')
    made = json_of(run(['snapshot', 'create', 'ORCL', '--json'])[1], 'create')
    fits('snapshot', made, 'snapshot create')
    first = json.loads(run(['snapshots', 'ORCL', '--json'])[1])['snapshots'][0]['name']
    fits('snapshot', json_of(run(['snapshot', 'delete', 'ORCL', first, '--json'])[1], 'delete'), 'snapshot delete')
    fits('setup', json_of(run(['setup', 'ORCL', '--json'], who='host-ORCL')[1], 'setup'), 'setup')
    log = subprocess.run(['find', f'{WORK}/prod/ORCL', '-name', '*.dbf'], capture_output=True).stdout.split()[0]
    odd = f'{WORK}/odd\udcff\n\\name'
    with open(odd, 'w') as file:
        file.write('text')
    fits('identify', json_of(run(['identify', log.decode(), odd, '/none', '--json'], conf='')[1], 'identify'), 'identify')
    fits('validate', json_of(run(['validate', '--file', log.decode(), '--json'], conf='')[1], 'validate'), 'validate')


# ---- the plug-in ----

# Nagios plug-in guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
NUMBER = r'-?\d+(?:\.\d+)?'
RANGE = rf'@?(?:(?:{NUMBER}|~)?:)?(?:{NUMBER})?'
FIGURE = re.compile(rf"(?:'((?:[^'=]|'')+)'|([^\s'=]+))=({NUMBER}|U)(us|ms|s|%|[KMGT]?B|c)?"
                    rf"(?:;({RANGE})?)?(?:;({RANGE})?)?(?:;({NUMBER})?)?(?:;({NUMBER})?)?")


def figures(text, what):
    found = {}
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = FIGURE.match(text, at)
        if not match or (match.end() < len(text) and not text[match.end()].isspace()):
            saw(f'{what}: no figure: {text[at:at + 60]!r}')
            break
        found[match[1] or match[2]] = match
        at = match.end()
    return found


def plugin(args, wanted, word, **where):
    code, out, err = run(['check', *args], **where)
    out = out.decode()
    lines = out.splitlines()
    what = f'check {" ".join(args)}'
    if code != wanted or not lines or not lines[0].startswith(f'{word} - '):
        saw(f'{what}: exit code {code}, {out!r} {err.decode()!r}')
        return {}
    if '--all' not in args and len(lines) != 1:
        saw(f'{what}: more than a line: {out!r}')
    if lines[0].count('|') != 1:
        saw(f'{what}: {lines[0].count("|")} bars in {lines[0]!r}')
        return {}
    text, data = out.split('|', 1)
    more = data.split('\n', 1)[1] if '--all' in args else ''
    found = figures(data.split('\n')[0], what)
    if '--all' in args and more:
        if more.count('|') != 1:
            saw(f'{what}: {more.count("|")} bars in the long text')
        found.update(figures(more.split('|')[1], what))
    return found


def check():
    one = plugin(['ORCL'], 0, 'OK')
    for name in ('exposure', 'snapshots', 'proof_age', 'unprotected_logs', 'gaps', 'free', 'lease_age', 'clock_offset'):
        if name not in one:
            saw(f'no figure {name}')
    if one and (one['exposure'][5], one['exposure'][6]) != (str(36 * 3600), str(48 * 3600)):
        saw(f'limits of the configuration: {one["exposure"][0]}')
    if one and one['free'][3] == 'U':
        saw('the free space of a local storage is known')
    plugin(['EMPTY'], 2, 'CRITICAL')
    plugin(['--all'], 2, 'CRITICAL')
    plugin(['ORCL', '--warning', '1s'], 1, 'WARNING')
    plugin(['ORCL', '--critical', '1s', '--warning', '1s'], 2, 'CRITICAL')
    plugin(['--all'], 0, 'OK', who='host-ORCL')


# ---- a terminal ----

BAR = re.compile(rb'\r\[[#.]{20}\] ')


def sim(*args):
    subprocess.run([f'{BIN}/oracle-sim', *args, '--home', f'{WORK}/ora', '--sid', 'ORCL'], check=True, timeout=60,
                   stdout=subprocess.DEVNULL)


def at_terminal(args, columns, when_drawn=None):
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(f'{BIN}/evercopy', ['evercopy', *args, '--config', config('host-ORCL')], {**ENV, 'TERM': 'dumb'})
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    data = b''
    while select.select([fd], [], [], 30)[0]:
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        data += part
        if when_drawn and BAR.search(data):
            when_drawn()
            when_drawn = None
    if when_drawn:
        when_drawn()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), data.decode(errors='replace')


def screen(data, columns):
    """What is left on the screen, line by line; notes lines that would have wrapped."""
    lines, line, at = [], [], 0
    for sign in data:
        if sign == '\r':
            at = 0
        elif sign == '\n':
            lines.append(''.join(line).rstrip())
            line, at = [], 0
        else:
            line[at:at + 1] = [sign]
            at += 1
    return lines + [''.join(line).rstrip()]


def terminal():
    sim('inject', 'hang', '--at', 'merge')  # until a bar stands there
    code, data = at_terminal(['backup', 'ORCL'], 70, lambda: sim('inject', 'clear'))
    if code:
        saw(f'backup at a terminal: exit code {code}: {data[-300:]}')
    bars = re.findall(r'\r(\[[#.]{20}\] \d\d:\d\d:\d\d [^\r\n]*)', data)
    if not bars:
        saw(f'no bar was drawn: {data[:400]!r}')
    if any(len(bar) >= 70 for bar in bars):
        saw(f'a bar is wider than the terminal: {max(bars, key=len)!r}')
    left = '\n'.join(screen(data, 70))
    if re.search(r'\[[#.]{20}\]', left):
        saw(f'a bar was left behind: {left!r}')
    if 'OK ORCL' not in left:
        saw(f'the verdict is not to be read: {left[-300:]!r}')
    code, data = at_terminal(['backup', 'ORCL', '--quiet'], 70)
    if '[#' in data or '[.' in data:
        saw(f'--quiet draws: {data[:300]!r}')
    code, out, err = run(['backup', 'ORCL', '--json'], who='host-ORCL')
    document = json_of(out, 'backup')
    if document is not None:
        fits('backup', document, 'backup')
    if b'\r' in out + err:
        saw('a bar was drawn into a file')


# ---- zones ----

def zones():
    stamp = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d'
    for args in (['status', 'ORCL'], ['window', 'ORCL'], ['jobs', 'ORCL']):
        for zone, offset in ((None, None), ('utc', '+00:00'), ('Asia/Kolkata', '+05:30'), ('db', '+01:00'), ('local', None)):
            code, out, err = run(args + (['--zone', zone] if zone else []))
            text = out.decode()
            times = re.findall(r'\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?', text)
            named = re.findall(stamp, text)
            if code or not times or len(times) != len(named):
                saw(f'{args} --zone {zone}: {len(named)} of {len(times)} times name a zone: {text[:200]!r} {err!r}')
            if offset and any(not n.endswith(offset) for n in named):
                saw(f'{args} --zone {zone}: {named[0]}')


# ---- pages, by a stock client ----

def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def pack(fields):
    return b''.join(varint(k << 3) + varint(v) if isinstance(v, int) else
                    varint(k << 3 | 2) + varint(len(v)) + v for k, v in fields.items())


def unpack(data):
    """Field number to its values; varints and byte strings are all our messages have."""
    fields, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        fields.setdefault(key >> 3, []).append(value)
    return fields


def whole_and_paged(call, request, items, token, field_limit, field_token):
    """The items of one call, and of calls of one item each."""
    paged, next_token = [], b''
    for _ in range(1000):
        reply = unpack(call(pack({**request, field_limit: 1, field_token: next_token})))
        paged += reply.get(items, [])
        next_token = reply.get(token, [b''])[0]
        if not next_token:
            break
    return unpack(call(pack(request))).get(items, []), paged


def pages():
    import grpc
    def read(name):
        with open(f'{WORK}/etc/{name}', 'rb') as file:
            return file.read()
    with open(config('operator')) as file:
        address = re.search(r'(?m)^agent = (.*)', file.read())[1]
    credentials = grpc.ssl_channel_credentials(read('ca.crt'), read('operator.key'), read('operator.crt'))
    with grpc.secure_channel(address, credentials) as channel:
        call = lambda name: channel.unary_unary('/evercopy.v1.' + name)
        listed = call('Snapshots/ListSnapshots')
        whole, paged = whole_and_paged(listed, {1: b'ORCL'}, 1, 2, 2, 3)
        if len(whole) < 2 or whole != paged:
            saw(f'snapshots: {len(whole)} in one call, {len(paged)} in pages')
        jobs, paged = whole_and_paged(call('Jobs/ListJobs'), {1: b'ORCL'}, 1, 2, 2, 3)
        if len(jobs) < 2 or jobs != paged:
            saw(f'jobs: {len(jobs)} in one call, {len(paged)} in pages')
        name = unpack(whole[-1])[1][0]
        manifest = call('Snapshots/GetManifest')
        full = unpack(manifest(pack({1: b'ORCL', 2: name})))
        size = full[3][0] + full[4][0]
        parts = [b'', b'']
        for offset in range(0, size, 1000):
            part = unpack(manifest(pack({1: b'ORCL', 2: name, 3: offset, 4: 1000, 5: full[5][0]})))
            parts = [parts[0] + part.get(1, [b''])[0], parts[1] + part.get(2, [b''])[0]]
        if parts != [full[1][0], full[2][0]] or len(parts[0]) != full[3][0]:
            saw('the pages of a manifest are not the manifest')
        json.loads(parts[0]), json.loads(parts[1])
        for what, fields, code in (('another version', {5: 7}, grpc.StatusCode.ABORTED),
                                   ('behind the end', {3: size + 1}, grpc.StatusCode.INVALID_ARGUMENT)):
            try:
                manifest(pack({1: b'ORCL', 2: name, 4: 1000, **fields}))
                saw(f'a page of {what} was given')
            except grpc.RpcError as e:
                if e.code() != code:
                    saw(f'a page of {what}: {e.code()}')
        for bad in (b'x', b':', b'99999999999999999999999:a', b'nobody'):
            try:
                listed(pack({1: b'ORCL', 2: 1, 3: bad}))
                saw(f'page token {bad} was taken')
            except grpc.RpcError as e:
                if e.code() != grpc.StatusCode.INVALID_ARGUMENT:
                    saw(f'page token {bad}: {e.code()}')
        plan = call('Recovery/PlanRecovery')
        scn = unpack(whole[-1])[9][0]
        recipe = unpack(unpack(plan(pack({1: b'ORCL', 2: scn})))[2][0])
        files, logs = [], []
        for _ in range(100):
            page = unpack(unpack(plan(pack({1: b'ORCL', 2: scn, 4: len(files), 5: len(logs), 6: 2})))[2][0])
            files += page.get(4, [])
            logs += page.get(5, [])
            if len(page.get(4, [])) + len(page.get(5, [])) > 2 or (len(files), len(logs)) == (page[16][0], page[17][0]):
                break
        if len(files) < 3 or [files, logs] != [recipe[4], recipe[5]]:
            saw(f'recipe: {len(recipe[4])} files and {len(recipe[5])} logs, in pages {len(files)} and {len(logs)}')


{'table': table, 'refused': refused_certificate, 'schemas': schemas, 'check': check, 'terminal': terminal,
 'zones': zones, 'pages': pages}[CASE]()
print('\n'.join(wrong[:12]))
sys.exit(bool(wrong))
