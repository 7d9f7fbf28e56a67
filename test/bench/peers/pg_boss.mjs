// No-op jobs a second of pg-boss: fetch and complete in batches of 500, four loops.
// node pg_boss.mjs <jobs>; the connection is PGHOST and the like.
import PgBoss from 'pg-boss'
import pg from 'pg'

const jobs = Number(process.argv[2])
const { PGHOST: host, PGPORT: port, PGUSER: user, PGDATABASE: database } = process.env
const boss = new PgBoss({ host, port: Number(port), user, database })
boss.on('error', (e) => console.error(e.message))
await boss.start()
await boss.createQueue('noop')
for (let i = 0; i < jobs; i += 5000) {
  await boss.insert(Array.from({ length: Math.min(5000, jobs - i) }, (_, k) => ({ name: 'noop', data: { i: i + k } })))
}
// it plans by what the table holds now
await new pg.Pool().query('ANALYZE')
let done = 0
const from = process.hrtime.bigint()
async function loop () {
  for (;;) {
    const batch = await boss.fetch('noop', { batchSize: 500 })
    if (!batch || batch.length === 0) return
    await boss.complete('noop', batch.map((job) => job.id))
    done += batch.length
  }
}
await Promise.all([loop(), loop(), loop(), loop()])
console.log(done / (Number(process.hrtime.bigint() - from) / 1e9))
process.exit(0)
