// No-op jobs a second of graphile-worker with its fastest documented settings: a local queue, no
// delay of completions. (0.18 wants Node.js 22.) node graphile_worker.mjs <jobs>; the connection is PGHOST and the like.
import { run, runMigrations, Logger } from 'graphile-worker'
import pg from 'pg'

const jobs = Number(process.argv[2])
const pool = new pg.Pool({ max: 20 })
pool.on('error', (e) => console.error(e.message))
pool.on('connect', (c) => c.on('error', (e) => console.error(e.message)))
const logger = new Logger(() => () => {})
await runMigrations({ pgPool: pool, logger })
await pool.query(`SELECT graphile_worker.add_jobs(array(SELECT json_populate_record(NULL::graphile_worker.job_spec,
  json_build_object('identifier', 'noop', 'payload', json_build_object('i', i))) FROM generate_series(1, ${jobs}) i))`)
// it plans by what the table holds now
await pool.query('ANALYZE')
let done = 0
let resolve
const all = new Promise((r) => { resolve = r })
const from = process.hrtime.bigint()
await run({
  pgPool: pool, concurrency: 24, noHandleSignals: true, logger,
  taskList: { noop: async () => { if (++done === jobs) resolve() } },
  preset: { worker: { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
})
await all
console.log(jobs / (Number(process.hrtime.bigint() - from) / 1e9))
process.exit(0)
