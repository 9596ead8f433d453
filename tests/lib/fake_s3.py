#!/usr/bin/python3
"""An object store for tests: S3's protocol as its manual has it, every signature checked by a reckoning of its own,
and faults on demand. Obeys lines on stdin, answers each with one, ends with it. Nothing is kept on disk.
   fake_s3.py BUCKET CREDENTIALS-FILE [plain] [versioned] [locks] [page=N] [tls=CERT,KEY]
"plain": If-None-Match is not honoured on writing. First line out: "port N"."""
import base64, hashlib, hmac, os, re, socket, ssl, struct, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

bucket, credentials, *flags = sys.argv[1:]
settings = dict(f.partition('=')[::2] for f in flags)
lines = open(credentials).read().split('\n')
access, secret, token = lines[0].strip(), lines[1].strip(), (lines[2].strip() if len(lines) > 2 else '')
page_size = int(settings.get('page', '1000'))
lock = threading.RLock()
versions = {}   # key -> list of dicts, the newest last
uploads = {}    # id -> dict
seen = {'requests': 0, 'made': {}, 'bad': 0}
fault = {'kind': '', 'at': 0, 'times': 0}
serial = [0]


def next_id():
    serial[0] += 1
    return 'id/%d+%s=' % (serial[0], os.urandom(4).hex())


class Refusal(Exception):
    def __init__(self, status, code, message='no'):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


def newest(key):
    held = versions.get(key)
    return held[-1] if held and not held[-1]['marker'] else None


def store(key, body, meta, headers):
    if headers.get('if-none-match') == '*' and 'plain' not in settings and newest(key):
        raise Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')
    row = {'body': body, 'meta': meta, 'etag': '"%s"' % hashlib.md5(body).hexdigest(), 'marker': False,
           'version': next_id() if 'versioned' in settings else 'null', 'until': 0}
    if 'versioned' in settings:
        versions.setdefault(key, []).append(row)
    else:
        versions[key] = [row]
    seen['made'][key] = seen['made'].get(key, 0) + 1
    return row


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # ---- the signature, as AWS's manual describes it ----
    def check(self, body):
        m = re.fullmatch(r'AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, '
                         r'SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})', self.headers.get('authorization', ''))
        if not m:
            raise Refusal(403, 'AccessDenied')
        who, day, region, names, signature = m.groups()
        if who != access:
            raise Refusal(403, 'InvalidAccessKeyId')
        if token != (self.headers.get('x-amz-security-token') or ''):
            raise Refusal(403, 'InvalidToken')
        signed = names.split(';')
        needed = {'host'} | {k.lower() for k in self.headers if k.lower().startswith('x-amz-')}
        date = self.headers.get('x-amz-date', '')
        stated = self.headers.get('x-amz-content-sha256', '')
        if signed != sorted(signed) or not needed <= set(signed) or not date.startswith(day):
            raise Refusal(403, 'AccessDenied', 'not all is signed')
        if abs(time.mktime(time.strptime(date, '%Y%m%dT%H%M%SZ')) - time.timezone - time.time()) > 900:
            raise Refusal(403, 'RequestTimeTooSkewed')
        if stated != hashlib.sha256(body).hexdigest() and not (stated == 'UNSIGNED-PAYLOAD' and 'tls' in settings):
            raise Refusal(400, 'XAmzContentSHA256Mismatch')
        path, _, query = self.path.partition('?')
        pairs = sorted(p.partition('=')[::2] for p in query.split('&') if p)
        canonical = '\n'.join([
            self.command, '/'.join(quote(unquote(s), safe='-._~') for s in path.split('/')),
            '&'.join('%s=%s' % (quote(unquote(k), safe='-._~'), quote(unquote(v), safe='-._~')) for k, v in pairs),
            *('%s:%s' % (n, ' '.join(self.headers.get(n, '').split())) for n in signed), '', names, stated])
        key = ('AWS4' + secret).encode()
        for piece in (day, region, 's3', 'aws4_request'):
            key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
        scope = '/'.join((day, region, 's3', 'aws4_request'))
        text = '\n'.join(('AWS4-HMAC-SHA256', date, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != signature:
            raise Refusal(403, 'SignatureDoesNotMatch', 'canonical request ' + canonical.replace('\n', '|'))

    # ---- answers ----
    def answer(self, status, body=b'', headers=(), half=False, stall=0):
        if isinstance(body, str):
            body = body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(n.lower() == 'content-length' for n, _ in headers):
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body[:len(body) // 2] if half else body)
        self.wfile.flush()
        if half:
            time.sleep(stall)
            self.reset()

    def reset(self):
        self.close_connection = True
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def complain(self, status, code, message='no', headers=()):
        self.answer(status, '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>'
                    % (code, escape(message)), headers)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0))
        with lock:
            seen['requests'] += 1
            kind = ''
            if fault['kind'] and fault['at'] <= seen['requests'] < fault['at'] + fault['times']:
                kind = fault['kind']
        if kind == 'reset-before':
            return self.reset()
        if kind == 'internal-before':
            return self.complain(500, 'InternalError')
        if kind == 'slowdown':
            return self.complain(503, 'SlowDown', 'Please reduce your request rate', [('Retry-After', '0')])
        if kind == 'html':
            return self.answer(502, '<html><body>bad gateway & more', [('Content-Type', 'text/html')])
        if kind == 'hang':
            time.sleep(3)
            return self.reset()
        if kind == 'dtd':
            return self.answer(200, '<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult><Key>&b;</Key></ListBucketResult>')
        if kind == 'lost':
            return self.answer(404, '<html>nothing here</html>')
        try:
            with lock:
                self.check(body)
                reply = self.serve(body)
        except Refusal as refusal:
            seen['bad'] += refusal.code == 'SignatureDoesNotMatch'
            reply = None
            if kind == '':
                return self.complain(refusal.status, refusal.code, refusal.message)
        if kind == 'reset-after':
            return self.reset()
        if kind == 'hang-after':
            time.sleep(3)
            return self.reset()
        if kind == 'internal-after' or reply is None:
            return self.complain(500, 'InternalError')
        if kind == 'stall' and self.command != 'HEAD' and reply[1:] and reply[1]:
            return self.answer(*reply, half=True, stall=3)
        if kind == 'truncate' and self.command != 'HEAD' and reply[1]:
            return self.answer(*reply, half=True)
        if kind == 'truncate':
            return self.reset()
        self.answer(*reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    # ---- the store ----
    def serve(self, body):
        url = urlsplit(self.path)
        parts = unquote(url.path).split('/', 2)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        key = parts[2] if len(parts) > 2 else ''
        if parts[1] != bucket:
            raise Refusal(404, 'NoSuchBucket', 'The specified bucket does not exist')
        headers = {k.lower(): v for k, v in self.headers.items()}
        if not key:
            return self.serve_bucket(query)
        return getattr(self, 'object_' + self.command.lower())(key, query, headers, body)

    def serve_bucket(self, query):
        if self.command == 'HEAD':
            return (200,)
        if 'versioning' in query:
            return 200, '<VersioningConfiguration>%s</VersioningConfiguration>' % (
                '<Status>Enabled</Status>' if 'versioned' in settings else '')
        if 'object-lock' in query:
            if 'locks' not in settings:
                raise Refusal(404, 'ObjectLockConfigurationNotFoundError')
            return 200, '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>'
        if 'uploads' in query:
            mine = [(u['key'], i) for i, u in sorted(uploads.items()) if u['key'].startswith(query['prefix'])]
            return 200, '<ListMultipartUploadsResult><IsTruncated>%s</IsTruncated>%s</ListMultipartUploadsResult>' % (
                'true' if len(mine) > page_size else 'false',
                ''.join('<Upload><Key>%s</Key><UploadId>%s</UploadId></Upload>' % (quote(k, safe='/'), escape(i))
                        for k, i in mine[:page_size]))
        if 'versions' in query:
            return self.list_versions(query)
        return self.list_objects(query)

    def list_versions(self, query):
        rows = [(k, v, v is held[-1]) for k, held in sorted(versions.items()) if k.startswith(query['prefix'])
                for v in reversed(held)]
        return 200, '<ListVersionsResult><IsTruncated>%s</IsTruncated>%s</ListVersionsResult>' % (
            'true' if len(rows) > page_size else 'false',
            ''.join('<{0}><Key>{1}</Key><VersionId>{2}</VersionId><IsLatest>{3}</IsLatest><Owner><ID>x</ID></Owner></{0}>'.format(
                'DeleteMarker' if v['marker'] else 'Version', quote(k, safe='/'), escape(v['version']), str(latest).lower())
                for k, v, latest in rows[:page_size]))

    def list_objects(self, query):
        prefix, delimiter = query.get('prefix', ''), query.get('delimiter', '')
        after = base64.b64decode(query.get('continuation-token', '')).decode()
        rows, more = [], False
        for k in sorted(versions):
            if not newest(k) or not k.startswith(prefix):
                continue
            rest = k[len(prefix):]
            row = prefix + rest.split(delimiter)[0] + delimiter if delimiter and delimiter in rest else k
            if row <= after or (rows and rows[-1] == row):
                continue
            if len(rows) == page_size:
                more = True
                break
            rows.append(row)
        text = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        text += '<Prefix>%s</Prefix><IsTruncated>%s</IsTruncated>' % (escape(prefix), str(more).lower())
        if more:
            text += '<NextContinuationToken>%s</NextContinuationToken>' % base64.b64encode(rows[-1].encode()).decode()
        for row in rows:
            if delimiter and row.endswith(delimiter):
                text += '<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>' % quote(row, safe='/')
            else:
                text += '<Contents><Key>%s</Key><Size>%d</Size></Contents>' % (quote(row, safe='/'), len(newest(row)['body']))
        return 200, text + '</ListBucketResult>'

    def object_head(self, key, query, headers, body):
        row = newest(key)
        if not row:
            return (404,)
        return 200, b'', [('Content-Length', str(len(row['body']))), ('ETag', row['etag']),
                          ('x-amz-version-id', row['version']), *row['meta'].items()]

    def object_get(self, key, query, headers, body):
        row = newest(key)
        if not row:
            raise Refusal(404, 'NoSuchKey')
        if 'retention' in query:
            if not row['until']:
                raise Refusal(404, 'NoSuchObjectLockConfiguration')
            return 200, '<Retention><Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>' % (
                row['mode'], time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(row['until'])))
        data, m = row['body'], re.fullmatch(r'bytes=(\d+)-(\d+)', headers.get('range', ''))
        if not m:
            return 200, data, list(row['meta'].items())
        first, last = int(m[1]), min(int(m[2]), len(data) - 1)
        if first >= len(data):
            raise Refusal(416, 'InvalidRange')
        return 206, data[first:last + 1], [('Content-Range', 'bytes %d-%d/%d' % (first, last, len(data)))]

    def object_put(self, key, query, headers, body):
        if 'retention' in query:
            return self.retain(key, headers, body)
        if 'partNumber' in query:
            if query['uploadId'] not in uploads:
                raise Refusal(404, 'NoSuchUpload')
            etag = '"%s"' % hashlib.md5(body).hexdigest()
            uploads[query['uploadId']]['parts'][int(query['partNumber'])] = (etag, body)
            return 200, b'', [('ETag', etag)]
        meta = {k: v for k, v in headers.items() if k.startswith('x-amz-meta-')}
        row = store(key, body, meta, headers)
        return 200, b'', [('ETag', row['etag']), ('x-amz-version-id', row['version'])]

    def retain(self, key, headers, body):
        row = newest(key)
        if 'locks' not in settings or not row:
            raise Refusal(400, 'InvalidRequest')
        if headers.get('content-md5') != base64.b64encode(hashlib.md5(body).digest()).decode():
            raise Refusal(400, 'BadDigest')
        m = re.search(rb'<Mode>(\w+)</Mode><RetainUntilDate>([^<]+)Z</RetainUntilDate>', body)
        until = time.mktime(time.strptime(m[2].decode(), '%Y-%m-%dT%H:%M:%S')) - time.timezone
        if until < row['until']:
            raise Refusal(403, 'AccessDenied')
        row['until'], row['mode'] = until, m[1].decode()
        return (200,)

    def object_post(self, key, query, headers, body):
        if 'uploads' in query:
            upload = next_id()
            meta = {k: v for k, v in headers.items() if k.startswith('x-amz-meta-')}
            uploads[upload] = {'key': key, 'parts': {}, 'meta': meta}
            return 200, '<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>' % escape(upload)
        upload = uploads.get(query['uploadId'])
        if not upload:
            raise Refusal(404, 'NoSuchUpload')
        wanted = re.findall(rb'<PartNumber>(\d+)</PartNumber><ETag>([^<]+)</ETag>', body)
        parts = [upload['parts'].get(int(n), ('', b'')) for n, _ in wanted]
        if not parts or any(p[0].encode() != e for p, (_, e) in zip(parts, wanted)):
            raise Refusal(400, 'InvalidPart')
        if any(len(p[1]) < 5 << 20 for p in parts[:-1]):
            raise Refusal(400, 'EntityTooSmall')
        store(key, b''.join(p[1] for p in parts), upload['meta'], headers)
        del uploads[query['uploadId']]
        return 200, '<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>'

    def object_delete(self, key, query, headers, body):
        if 'uploadId' in query:
            if not uploads.pop(query['uploadId'], None):
                raise Refusal(404, 'NoSuchUpload')
        elif 'versionId' in query:
            held = versions.get(key, [])
            for row in [r for r in held if r['version'] == query['versionId']]:
                if row['until'] > time.time():
                    raise Refusal(403, 'AccessDenied', 'it is locked')
                held.remove(row)
            if not held:
                versions.pop(key, None)
        elif 'versioned' in settings:
            versions.setdefault(key, []).append({'marker': True, 'version': next_id(), 'body': b'', 'until': 0})
        else:
            versions.pop(key, None)
        return (204,)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


server = Server(('127.0.0.1', 0), Handler)
if 'tls' in settings:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*settings['tls'].split(','))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
print('port', server.server_address[1], flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    with lock:
        if word == 'fault':  # KIND AT [TIMES]: the AT-th request from now
            seen['requests'] = 0
            fault.update(kind=rest[0], at=int(rest[1]), times=int(rest[2]) if len(rest) > 2 else 1)
            print('ok', flush=True)
        elif word == 'calm':  # how many requests there were since "fault"
            fault['kind'] = ''
            print(seen['requests'], flush=True)
        elif word == 'made':  # how often an object came into being
            print(seen['made'].get(rest[0], 0), flush=True)
        elif word == 'held':  # versions of an object, delete markers included
            print(len(versions.get(rest[0], [])), flush=True)
        elif word == 'uploads':
            print(len(uploads), flush=True)
        elif word == 'bad':
            print(seen['bad'], flush=True)
        elif word == 'clear':
            versions.clear()
            uploads.clear()
            seen['made'].clear()
            print('ok', flush=True)
        elif word == 'token':  # from now on another one is asked for
            token = rest[0]
            print('ok', flush=True)
