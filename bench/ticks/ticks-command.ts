import { once } from 'node:events'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'
import { wake } from '../../src/pipeline/pacing/announce.ts'
import { takeMessage } from '../../src/pipeline/intake/intake.ts'
import { runTick } from '../../src/pipeline/pacing/pacer.ts'
import { budgetTable } from '../../src/storage/tables/budget-table.ts'
import { jobTable } from '../../src/storage/tables/job-table.ts'
import type { Entity, Table, Values, Write } from '../../src/storage/tables/table.ts'
import { costs, newWorld, quota, contextIn } from '../../test/support/context.ts'
import { parameters, promptOf } from '../work.ts'
import type { TickCost } from './tick-cost.ts'

/**
 * Ticks of the real pacer on tables in memory, one tick period of virtual time apart. Its arguments are how many
 * batches have how many jobs waiting between them. At a message it begins, and sends back what each tick has cost.
 */
const [batches = 1, jobs = 1, ticks = 1] = process.argv.slice(2).map(Number)
const rpm = 600
const pool = 'pool'
const keyOfOne = '1000000'
/** Rows that one answer of the service holds; further ones are asked for anew. */
const rowsPerAnswer = 1_000
/** The first ticks fill the horizon, and warm the code up. */
const ticksBefore = 4

process.channel?.ref()
console.log('ticks: ready')
await once(process, 'message')
const world = newWorld()
const meter = newMeter()
const context = contextIn(world, {
  jobs: jobTable(meter.watch(world.jobs), { chance: () => 0.5, newId: newIds(), clock: world.clock }),
  budgets: budgetTable(meter.watch(world.budget)),
  pools: [{ name: pool, quotas: [{ ...quota, rpm }], costs }],
})
await fill()
globalThis.gc?.()

const ticked: TickCost[] = []
for (let epoch = 0; epoch < ticksBefore + ticks; epoch += 1) {
  const sentBefore = world.messages.work.length
  meter.reset()
  const startedMs = cpuMs()
  await runTick(context, { pool, epoch })
  const tookMs = cpuMs() - startedMs
  const slots = world.messages.work.length - sentBefore
  // The next tick's message is one more.
  if (epoch >= ticksBefore)
    ticked.push({ cpuMs: tookMs - meter.tookMs(), operations: meter.operations() + slots + 1, slots })
  await world.clock.runUntil(world.clock.now() + timing.tickMs)
}
process.send?.(ticked)
process.channel?.unref()

/**
 * Every job is a copy of one that the real intake has registered. Rows come in their order, so that the table takes
 * each at its end, and share their values, which a tick does not change: a million of their own would keep the
 * collector busy.
 */
async function fill(): Promise<void> {
  const rows = await rowsOfOneJob()
  for (let index = 0; index < batches; index += 1) {
    const batch = `batch-${String(index).padStart(4, '0')}`
    await wake(context, { pool, batch })
    const own = Math.floor(jobs / batches) + (index < jobs % batches ? 1 : 0)
    const keys = Array.from({ length: own }, (_, number) => String(number).padStart(keyOfOne.length, '0'))
    for (const { row, values } of rows) {
      const names = row.includes(keyOfOne) ? keys.map((key) => row.replace(keyOfOne, key)) : [row]
      await insert(batch, names, values)
    }
  }
}

/** As the intake writes them, in a world of their own. */
async function rowsOfOneJob(): Promise<readonly Entity[]> {
  const other = newWorld()
  const context = contextIn(other)
  // The first runs a tick, and gets its slot; the second waits for the next tick.
  for (const key of ['first', keyOfOne]) {
    const text = JSON.stringify({ batch: 'one', custom_id: key, prompt: promptOf(0), ...parameters })
    await other.clock.run(takeMessage(context, { text, messageId: key, insertedAt: undefined }))
  }
  const rows = other.jobs.rows('one').filter(({ row }) => !row.includes('first'))
  if (!rows.some(({ row }) => row.startsWith('wait:')))
    throw new Error(`no job waits among ${rows.map(({ row }) => row).join(', ')}`)
  return rows
}

async function insert(partition: string, rows: readonly string[], values: Values): Promise<void> {
  for (let first = 0; first < rows.length; first += limits.transactionEntitiesMax) {
    const some = rows.slice(first, first + limits.transactionEntitiesMax)
    await world.jobs.transact(
      partition,
      some.map((row): Write => ({ kind: 'insert', row, values })),
    )
  }
}

/** Of this thread alone, so that neither the collector's threads nor other processes count. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

function newIds(): () => string {
  let ids = 0
  return () => `id-${(ids += 1)}`
}

/** Counts operations, and the time that the tables themselves take, which is none of the pacer's. */
function newMeter(): {
  watch(table: Table): Table
  reset(): void
  operations(): number
  tookMs(): number
} {
  let operations = 0
  let tookMs = 0
  // The tables in memory do all their work before they give their promise back.
  const timed = <Result>(work: () => Result): Result => {
    const startedMs = cpuMs()
    const result = work()
    tookMs += cpuMs() - startedMs
    operations += 1
    return result
  }
  return {
    watch: (table) => ({
      get: async (ref) => timed(async () => table.get(ref)),
      async range(query) {
        const rows = await timed(async () => table.range(query))
        operations += Math.max(0, Math.ceil(rows.length / rowsPerAnswer) - 1)
        return rows
      },
      transact: async (partition, writes) => timed(async () => table.transact(partition, writes)),
      remove: async (ref) => timed(async () => table.remove(ref)),
    }),
    reset() {
      operations = 0
      tookMs = 0
    },
    operations: () => operations,
    tookMs: () => tookMs,
  }
}
