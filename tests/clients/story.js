// The demo's story by the stock JavaScript client.  story.js ADDRESS FOLDER PROTO_DIR DB DB_NAME
'use strict';
process.noDeprecation = true; // grpc-js names an IP address to TLS
const fs = require('fs');
const assert = require('assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, folder, protos, db, dbName] = process.argv.slice(2);
const names = ['backups', 'clones', 'databases', 'jobs', 'recovery', 'snapshots'].map((n) => `evercopy/v1/${n}.proto`);
const definition = loader.loadSync([...names, 'grpc/health/v1/health.proto'],
  { includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true });
const wire = grpc.loadPackageDefinition(definition);
const read = (name) => fs.readFileSync(`${folder}/${name}`);

function identity(who) {
  const credentials = grpc.credentials.createSsl(read('ca.crt'), read(`${who}.key`), read(`${who}.crt`));
  const clients = {};
  const open = (name) => {
    if (!clients[name]) {
      const Service = name === 'Health' ? wire.grpc.health.v1.Health : wire.evercopy.v1[name];
      clients[name] = new Service(address, credentials, { 'grpc.max_send_message_length': -1 });
    }
    return clients[name];
  };
  return {
    open,
    call: (name, request = {}, options = {}) => new Promise((resolve, reject) => {
      const [service, method] = name.split('/');
      open(service)[method](request, { deadline: Date.now() + 20000, ...options }, (e, reply) => (e ? reject(e) : resolve(reply)));
    }),
    // The messages of a stream until it ends; stop(call, n) is asked after each.
    stream: (name, request, options = {}, stop = () => {}) => new Promise((resolve, reject) => {
      const [service, method] = name.split('/');
      const got = [];
      const call = open(service)[method](request, { deadline: Date.now() + 20000, ...options });
      call.on('data', (message) => { got.push(message); stop(call, got.length); });
      call.on('error', (e) => reject(Object.assign(e, { got })));
      call.on('end', () => resolve(got));
    }),
    upload: (messages) => new Promise((resolve, reject) => {
      const call = open('Backups').UploadLog({ deadline: Date.now() + 20000 }, (e, reply) => (e ? reject(e) : resolve(reply)));
      let at = 0;
      const more = () => {
        while (at < messages.length) if (!call.write(messages[at++])) { call.once('drain', more); return; }
        call.end();
      };
      more();
    }),
  };
}

async function fails(code, promise) {
  let e;
  try { await promise; } catch (caught) { e = caught; }
  assert(e, `it succeeded instead of ${code}`);
  assert.strictEqual(grpc.status[e.code], code, e.message);
  return e;
}

const people = identity('operator');
const host = identity(`host-${db}`);
const run = {};
const held = (more = {}) => ({ job: run.job, fencing_token: run.token, ...more });
const parts = (first, count, token = run.token) => Array.from({ length: Math.ceil(count / 100) }, (_, k) => ({
  job: run.job,
  fencing_token: token,
  first_line: first + k * 100,
  lines: Array.from({ length: Math.min(100, count - k * 100) }, (__, n) => Buffer.from(`line ${first + k * 100 + n}`)),
}));

const steps = {
  async health_is_told() {
    assert.strictEqual((await host.call('Health/Check')).status, 'SERVING');
    await fails('NOT_FOUND', host.call('Health/Check', { service: 'nothing' }));
  },
  async status_is_ok() {
    const { databases: [row] } = await people.call('Databases/GetStatus', { db_unique_name: db });
    assert.strictEqual(row.verdict, 'VERDICT_OK', row.cause);
    run.dbid = row.dbid;
  },
  async the_window_holds_what_the_last_run_reached() {
    const { intervals } = await people.call('Recovery/GetWindow', { db_unique_name: db });
    run.last = intervals[intervals.length - 1].last_scn;
    assert(run.last > intervals[0].first_scn);
  },
  async snapshots_are_listed_with_their_manifests() {
    const { snapshots } = await people.call('Snapshots/ListSnapshots', { db_unique_name: db });
    run.snapshot = snapshots[snapshots.length - 1].name;
    const manifest = await people.call('Snapshots/GetManifest', { db_unique_name: db, snapshot: run.snapshot });
    assert(JSON.parse(manifest.manifest_json) && JSON.parse(manifest.facts_json));
  },
  async a_plan_reaches_a_target_and_says_why_not() {
    assert((await people.call('Recovery/PlanRecovery', { db_unique_name: db, scn: run.last })).reachable);
    const plan = await people.call('Recovery/PlanRecovery', { db_unique_name: db, scn: run.last + 1e9 });
    assert(!plan.reachable && plan.why && plan.nearest_below_scn === run.last, plan.why);
  },
  async a_clone_is_made_listed_and_dropped() {
    const { clone } = await people.call('Clones/CreateClone',
      { idempotency_key: 'story-js', db_unique_name: db, name: 'storyjs', snapshot: run.snapshot, purpose: 'story' });
    assert(clone.name === 'storyjs' && clone.mount);
    const list = async () => (await people.call('Clones/ListClones', { db_unique_name: db })).clones.map((c) => c.name);
    assert((await list()).includes('storyjs'));
    await people.call('Clones/DropClone', { db_unique_name: db, name: 'storyjs' });
    assert(!(await list()).includes('storyjs'));
  },
  async a_database_host_may_not_clone() {
    const e = await fails('PERMISSION_DENIED', host.call('Clones/CreateClone', { db_unique_name: db }));
    assert(e.metadata.get('evercopy-error-bin')[0].includes('DENIED'));
  },
  async a_run_begins() {
    const grant = await host.call('Backups/BeginBackup',
      { idempotency_key: 'story-js', db_unique_name: db, dbid: run.dbid, db_name: dbName, host: 'story', pid: 7 });
    run.job = grant.job;
    run.token = grant.fencing_token;
    await host.call('Backups/ReportPhase', held({ phase: 'logs' }));
  },
  async a_log_is_uploaded_while_another_follows_it() {
    run.follow = people.stream('Jobs/FollowLog', { job: run.job, follow: true });
    run.follow.catch(() => {}); // judged where the run ends
    assert.strictEqual((await host.upload(parts(0, 2000))).next_line, 2000);
    assert.strictEqual((await host.upload(parts(1990, 20))).next_line, 2010);
    assert.strictEqual((await host.call('Backups/AppendLog', held())).next_line, 2010);
  },
  async a_lost_lease_ends_an_upload_early() {
    await fails('ABORTED', host.upload(parts(2010, 50000, run.token + 1)));
    assert.strictEqual((await host.call('Backups/AppendLog', held())).next_line, 2010);
  },
  async a_snapshot_is_taken() {
    const { snapshot } = await host.call('Snapshots/TakeSnapshot', held({ kind: 'pre', idempotency_key: 'story-js' }));
    assert.strictEqual(snapshot.run, run.job);
  },
  async a_deadline_and_a_cancellation_end_a_stream() {
    await fails('DEADLINE_EXCEEDED', people.stream('Jobs/FollowLog', { job: run.job, follow: true }, { deadline: Date.now() + 300 }));
    const e = await fails('CANCELLED', people.stream('Jobs/FollowLog', { job: run.job, follow: true }, {}, (call, n) => n === 10 && call.cancel()));
    assert(e.got.length >= 10);
  },
  async the_end_of_the_run_ends_the_stream() {
    const done = await host.call('Backups/FinishBackup', held({ verdict: 'VERDICT_FAILED', phase: 'merge', cause: 'story over' }));
    assert.strictEqual(done.verdict, 'VERDICT_FAILED');
    const lines = await run.follow;
    assert.strictEqual(lines.length, 2010);
    lines.forEach((line, n) => assert.strictEqual(line.text.toString(), `line ${n}`));
  },
  async what_is_too_big_is_refused_and_the_connection_goes_on() {
    await fails('RESOURCE_EXHAUSTED', host.call('Backups/AppendLog', { job: 'x', lines: [Buffer.alloc(5 << 20)] }));
    await fails('RESOURCE_EXHAUSTED', host.upload([{ job: 'x', lines: [Buffer.alloc(5 << 20)] }]));
    await host.call('Databases/GetStatus', { db_unique_name: db });
  },
};

(async () => {
  let failed = 0;
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
      console.log(`ok javascript_${name}`);
    } catch (e) {
      failed++;
      console.log(`not ok javascript_${name}: ${String(e.message).split('\n')[0]} ${String(e.stack).split('\n').find((l) => l.includes('story.js:')) || ''}`);
    }
  }
  process.exit(failed ? 1 : 0);
})();
