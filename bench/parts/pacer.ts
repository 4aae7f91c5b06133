import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { plainTerms } from '../../src/core/budget/fairness.ts'
import { newJob } from '../../src/core/jobs/job.ts'
import { timing } from '../../src/core/timing.ts'
import { wake } from '../../src/pipeline/pacing/announce.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { runTick } from '../../src/pipeline/pacing/pacer.ts'
import { azureTable } from '../../src/storage/tables/azure-table.ts'
import { budgetTable } from '../../src/storage/tables/budget-table.ts'
import { connectStorage } from '../../src/storage/connection.ts'
import { jobTable } from '../../src/storage/tables/job-table.ts'
import { azureMessages, queueNames } from '../../src/storage/queues.ts'
import { costs, quota, contextIn, newWorld } from '../../test/support/context.ts'
import type { Bench } from '../bench.ts'
import { say } from '../progress.ts'
import { decimal, quantile, type Report } from '../report.ts'
import { parameters, promptOf } from '../work.ts'
import { World } from '../world.ts'

/** Half of the time that a tick stands for. */
const tickMsMax = 2_500

const pool = 'default'

const steps = ['read the pool', 'look at lines', 'commit', 'move jobs', 'send work', 'send tick'] as const

type Step = (typeof steps)[number]

type Tick = { readonly slots: number; readonly tookMs: number; readonly stepMs: ReadonlyMap<Step, number> }

/**
 * One pacer for a pool of many requests a minute: its ticks on a real Azurite, one after the other, its clock moved by
 * hand from each tick to the next.
 */
export async function pacer({ isQuick }: Bench): Promise<Report> {
  const sizes = { rpm: 6_000, jobs: isQuick ? 3_000 : 6_000, batches: 10 }
  const { rpm, jobs, batches } = sizes
  await using world = new World()
  const { connectionString } = await world.storage()
  const watch = stopwatch()
  const clock = handClock()
  const context = await openRoom({ connectionString, rpm, clock, watch })
  say('pacer: registering')
  await register(context, { jobs, batches })
  const ticks: Tick[] = []
  let given = 0
  for (let epoch = 0; given < jobs; epoch += 1) {
    watch.reset()
    const startedAt = performance.now()
    const result = await runTick(context, { pool, epoch })
    const tookMs = performance.now() - startedAt
    if (result !== 'ticked') throw new Error(`pacer: tick ${epoch} was ${result}`)
    const slots = watch.calls('send work')
    if (slots === 0) throw new Error(`pacer: tick ${epoch} gave no slot, with ${jobs - given} jobs waiting`)
    given += slots
    ticks.push({ slots, tookMs, stepMs: watch.spans() })
    say(`pacer, tick ${epoch}: ${slots} slots in ${tookMs.toFixed(0)} ms`)
    clock.move(timing.tickMs)
  }
  return reportOf(ticks, sizes)
}

function reportOf(
  all: readonly Tick[],
  { rpm, jobs, batches }: { rpm: number; jobs: number; batches: number },
): Report {
  // The first fills an empty horizon, and the last finds what is left.
  const [first, ...others] = all
  const steady = others.filter(({ slots }) => slots >= (0.9 * rpm * timing.tickMs) / 60_000)
  const took = steady.map(({ tookMs }) => tookMs)
  const median = quantile(took, 0.5)
  const stepOf = (ticks: readonly Tick[], step: Step): string =>
    decimal(
      quantile(
        ticks.map(({ stepMs }) => stepMs.get(step) ?? 0),
        0.5,
      ),
      0,
    )
  const row = (name: string, ticks: readonly Tick[]): readonly string[] => [
    name,
    String(ticks.length),
    decimal(
      quantile(
        ticks.map(({ slots }) => slots),
        0.5,
      ),
      0,
    ),
    decimal(
      quantile(
        ticks.map(({ tookMs }) => tookMs),
        0.5,
      ),
      0,
    ),
    decimal(Math.max(...ticks.map(({ tookMs }) => tookMs)), 0),
    ...steps.map((step) => stepOf(ticks, step)),
  ]
  return {
    title: 'Pacer',
    method:
      `Ticks of one pacer at ${rpm} RPM over ${jobs} waiting jobs in ${batches} batches; storage is Azurite, and the clock is moved by ` +
      `hand, ${timing.tickMs / 1_000} s from tick to tick. Milliseconds; medians but for the slowest.`,
    tables: [
      {
        head: ['', 'ticks', 'slots', 'a tick', 'slowest', ...steps],
        rows: [row('the first', first === undefined ? [] : [first]), row('the others', steady)],
      },
    ],
    gates: [
      {
        name: `a tick of ${timing.tickMs / 1_000} s of slots at ${rpm} RPM`,
        found: `${decimal(median, 0)} ms`,
        wanted: `under ${tickMsMax} ms`,
        isPassed: median < tickMsMax,
      },
    ],
    remarks: [],
  }
}

async function openRoom(options: {
  readonly connectionString: string
  readonly rpm: number
  readonly clock: HandClock
  readonly watch: Stopwatch
}): Promise<Context> {
  const { connectionString, rpm, clock, watch } = options
  const storage = await connectStorage({ kind: 'connection-string', connectionString }, async () => {
    throw new Error('a connection string needs no identity')
  })
  await Promise.all([
    ...Object.values(queueNames).map(async (name) => storage.queues.createQueue(name)),
    ...['jobs', 'budget'].map(async (name) => storage.table(name).createTable()),
  ])
  const ids = { chance: Math.random, newId: randomUUID }
  const jobs = jobTable(azureTable(storage.table('jobs')), { ...ids, clock: present })
  const budgets = budgetTable(azureTable(storage.table('budget')))
  const messages = azureMessages(storage.queues, clock)
  return contextIn(newWorld(), {
    clock,
    ...ids,
    log: { event: (event, facts) => say(`${event} ${JSON.stringify(facts)}`) },
    jobs: {
      ...jobs,
      firstWaiting: async (query) => watch.time('look at lines', jobs.firstWaiting(query)),
      slot: async (grants) => watch.time('move jobs', jobs.slot(grants)),
    },
    budgets: {
      ...budgets,
      read: async (pool) => watch.time('read the pool', budgets.read(pool)),
      commit: async (change) => watch.time('commit', budgets.commit(change)),
    },
    messages: {
      sendWork: async (message, at) => watch.time('send work', messages.sendWork(message, at)),
      sendTick: async (message, at) => watch.time('send tick', messages.sendTick(message, at)),
      sendBatchTask: messages.sendBatchTask,
      sendHook: messages.sendHook,
    },
    pools: [{ name: pool, quotas: [{ ...quota, rpm, pace: 1 }], costs }],
  })
}

async function register(
  context: Context,
  { jobs, batches }: { readonly jobs: number; readonly batches: number },
): Promise<void> {
  const now = context.clock.now()
  const names = Array.from({ length: batches }, (_, index) => `pacer-${index + 1}`)
  for (const batch of names) {
    await context.batches.openBatch({
      batch,
      pool,
      createdAt: now,
      terms: plainTerms,
      owner: null,
      order: null,
      progress: null,
      workedOnUntil: 0,
    })
    await wake(context, { pool, batch })
  }
  await Promise.all(
    Array.from({ length: jobs }, async (_, index) =>
      context.jobs.add(
        newJob({
          batch: names[index % batches] ?? '',
          pool,
          priority: null,
          upperMicroUsd: 0,
          key: String(index + 1),
          customId: String(index + 1),
          metadata: null,
          request: { prompt: promptOf(index), ...parameters },
          now,
        }),
      ),
    ),
  )
}

/** Changes that wait for company wait as long as they say. */
const present: Context['clock'] = {
  now: Date.now,
  sleepUntil: async (at, signal) =>
    sleep(Math.max(0, at - Date.now()), undefined, signal === undefined ? {} : { signal }).catch(() => {}),
}

type HandClock = Context['clock'] & { move(ms: number): void }

/** It starts at the present, so that messages become visible when they should. */
function handClock(): HandClock {
  let now = Date.now()
  return {
    now: () => now,
    async sleepUntil() {},
    move: (ms) => {
      now += ms
    },
  }
}

type Stopwatch = {
  reset(): void
  time<T>(step: Step, work: Promise<T>): Promise<T>
  calls(step: Step): number
  /** From the beginning of each step's first call to the end of its last. */
  spans(): ReadonlyMap<Step, number>
}

function stopwatch(): Stopwatch {
  const seen = new Map<Step, { readonly from: number; readonly to: number; readonly calls: number }>()
  return {
    reset: () => seen.clear(),
    async time(step, work) {
      const startedAt = performance.now()
      const result = await work
      const { from = startedAt, calls = 0 } = seen.get(step) ?? {}
      seen.set(step, { from: Math.min(from, startedAt), to: performance.now(), calls: calls + 1 })
      return result
    },
    calls: (step) => seen.get(step)?.calls ?? 0,
    spans: () => new Map([...seen].map(([step, { from, to }]) => [step, to - from])),
  }
}
