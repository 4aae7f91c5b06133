import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { logLine } from '../../src/core/log-event.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { reportPools } from '../../src/pipeline/pacing/pool-report.ts'
import { rescue } from '../../src/pipeline/running/rescue.ts'
import { rootDir } from '../architecture/sources.ts'
import { addQuietly, play, tickOnce } from '../pipeline/play.ts'
import { newWorld, contextIn, quota, type World } from '../support/context.ts'
import { fails, pictures } from '../support/scripted-model.ts'
import { alertEvents, alertRules } from './alert-events.ts'
import { runQuery, type Row } from './kql.ts'

const text = readFileSync(join(rootDir, 'infra/modules/alerts.bicep'), 'utf8')
const page = readFileSync(join(rootDir, 'docs/deploy.md'), 'utf8')

test('alerts wait for these events', () => {
  expect(alertEvents()).toEqual([
    'pool',
    'pool',
    'run',
    'refusals',
    'rows_unreadable',
    'message_poisoned',
    'job_rejected',
  ])
})

test('no rule looks for words of the log', () => {
  expect(alertRules().map(({ name }) => name)).toHaveLength(6)
  expect(text).not.toMatch(/message has|message contains|severityLevel/)
})

test('the alert on silence waits for a function that runs each minute', () => {
  // A text in one of the tables that have it, true or false in the other.
  expect(text).toContain(String.raw`where name == \'rescue\' and tostring(success) =~ \'true\'`)
  const timer = readFileSync(join(rootDir, 'src/functions/rescue.ts'), 'utf8')
  expect(timer).toMatch(/app\.timer\('rescue', \{\s+schedule: '0 \* \* \* \* \*'/)
})

test('each alert is on the page, which says what the rule does', () => {
  const rows = [...page.matchAll(/^\| ([a-z-]+)\s+\| [^|]+\|$/gm)].map(([, name]) => name)
  for (const { name } of alertRules()) expect(rows).toContain(name)
  expect(page).toMatch(/^\| nothing-moves .* for ten minutes.* no call was made for 15/m)
  expect(text).toMatch(
    /no call was made for 15 minutes.'\n(?:.*\n)*? +'where timestamp > ago\(15m\)'\n(?:.*\n)*? +'where stuck >= 10 /,
  )
  expect(page).toMatch(/^\| silent .* less than ten times in half an hour/m)
})

/** What the log holds, as Azure keeps it. */
function logged(world: World): { readonly rows: Row[]; readonly context: Context } {
  const rows: Row[] = []
  const log: Context['log'] = {
    event: (event, facts = {}) => {
      const timestamp = world.clock.now()
      rows.push({ timestamp, message: logLine(event, facts, timestamp) })
    },
  }
  return { rows, context: contextIn(world, { log }) }
}

/** As the timer does, once a minute, with what goes on between. */
async function minutes(
  world: World,
  context: Context,
  { count, between }: { readonly count: number; readonly between: (until: number) => Promise<void> },
): Promise<void> {
  for (let minute = 0; minute < count; minute += 1) {
    await between(world.clock.now() + 60_000)
    await world.clock.run(reportPools(context))
    await world.clock.run(rescue(context))
  }
}

test('the page on logs has each fact of the pools that the rules go by', async () => {
  const world = newWorld()
  const { rows, context } = logged(world)
  await addQuietly(world, context, { count: 1 })
  await minutes(world, context, { count: 1, between: async (until) => world.clock.runUntil(until) })
  const { time: _, level: __, event, pool: ___, ...facts } = JSON.parse(String(rows.at(-1)?.message))
  expect(event).toBe('pool')
  const said = readFileSync(join(rootDir, 'docs/logs.md'), 'utf8')
    .split('\n\n')
    .find((each) => each.startsWith('`pool` has'))
  for (const name of Object.keys(facts)) expect(said).toContain(`\`${name}\``)
})

describe('deployment-stopped', () => {
  const { query, by } = alertRules().find(({ name }) => name === 'deployment-stopped')!

  /** What Azure makes an alert of: each value of what the rule goes by. */
  const alertsAt = (rows: readonly Row[], now: number): readonly string[] => [
    ...new Set(runQuery(query, rows, now).map((row) => by.map((fact) => row[fact]).join(' '))),
  ]

  test('lasts for as long as a deployment is stopped by faults, of which the log tells once', async () => {
    const world = newWorld()
    const { rows, context } = logged(world)
    const startedAt = world.clock.now()
    const isAway = (minute: number): boolean => minute < 5 || (minute >= 40 && minute < 200)
    const generate: Context['model']['generate'] = async () => {
      await world.clock.sleepUntil(world.clock.now() + 5_000)
      return isAway((world.clock.now() - startedAt) / 60_000)
        ? fails('transient', { code: 'server_error', status: 500 })
        : pictures(1, 'cat')
    }
    const calling = { ...context, attemptsMax: 100, model: { generate } }
    await addQuietly(world, calling, { count: 3_000 })
    const raised: number[] = []
    for (let minute = 1; minute <= 240; minute += 1) {
      const between = async (until: number): Promise<void> => play(world, [calling], until)
      await minutes(world, calling, { count: 1, between })
      if (alertsAt(rows, world.clock.now()).length > 0) raised.push(minute)
    }
    const stops = rows
      .map(({ message }) => JSON.parse(String(message)))
      .filter(({ event }) => event === 'deployment_stopped')
    expect(stops).toHaveLength(2)
    const between = (from: number, to: number): number =>
      raised.filter((minute) => minute >= from && minute <= to).length
    // All the time while it is stopped; until a quarter of an hour after, and no longer.
    expect([between(2, 5), between(41, 200)]).toEqual([4, 160])
    expect([between(25, 39), between(231, 240)]).toEqual([0, 0])
  })

  test('a second deployment that stops is another alert, and so is one of another pool', () => {
    const line = (pool: string, stopped: number): Row => ({
      timestamp: 0,
      message: JSON.stringify({ event: 'pool', pool, waiting: 9, stopped }),
    })
    expect(alertsAt([line('a', 0), line('b', 0)], 0)).toEqual([])
    expect(alertsAt([line('a', 1), line('a', 1), line('b', 0)], 0)).toEqual(['a 1'])
    expect(alertsAt([line('a', 1), line('a', 2), line('b', 1)], 0)).toEqual(['a 1', 'a 2', 'b 1'])
    expect(alertsAt([line('a', 1)], 15 * 60_000)).toEqual([])
  })
})

describe('events', () => {
  test.each([
    ['refusals', 'refusals', { batch: 'a' }, { batch: 'b' }],
    ['rows-unreadable', 'rows_unreadable', { code: 'jobs' }, { code: 'batches' }],
    ['message-poisoned', 'message_poisoned', { queue: 'a' }, { queue: 'b' }],
    ['jobs-rejected', 'job_rejected', { batch: 'a' }, { batch: 'b' }],
  ])('%s: the second is told of while the first is mute', (name, event, first, second) => {
    const { query, by, mute } = alertRules().find((rule) => rule.name === name)!
    expect(mute).not.toBe('')
    const rows = [first, second, first].map((facts) => ({
      timestamp: 0,
      message: JSON.stringify({ event, ...facts }),
    }))
    const alerts = runQuery(query, rows, 0).map((row) => by.map((fact) => row[fact]).join(' '))
    expect(new Set(alerts)).toEqual(new Set([first, second].map((facts) => Object.values(facts).join(' '))))
  })
})

describe('nothing-moves', () => {
  const query = alertRules().find(({ name }) => name === 'nothing-moves')!.query

  const ticksOnly =
    (world: World, context: Context) =>
    async (until: number): Promise<void> => {
      while (await tickOnce(world, context, until));
      await world.clock.runUntil(until)
    }

  test('tells of a pool whose slots are given to workers that are all dead', async () => {
    const world = newWorld()
    const { rows, context } = logged(world)
    await addQuietly(world, context, { count: 150 })
    const between = ticksOnly(world, context)
    await minutes(world, context, { count: 9, between })
    expect(runQuery(query, rows, world.clock.now())).toEqual([])
    await minutes(world, context, { count: 2, between })
    const pools = rows
      .map(({ message }) => JSON.parse(String(message)))
      .filter(({ event }) => event === 'pool')
    // Slots were given all the time: by those alone nobody would notice.
    expect(pools.slice(1).every(({ slotsLastMinute }) => slotsLastMinute > 0)).toBe(true)
    expect(world.model.calls).toHaveLength(0)
    expect(runQuery(query, rows, world.clock.now())).toEqual([
      { pool: 'pool', lines: 11, stuck: 11, calls: 0 },
    ])
  })

  test('is silent while calls are made, be it rarely, and tells when they end', async () => {
    const world = newWorld()
    const { rows, context } = logged(world)
    await addQuietly(world, context, { count: 300 })
    const alive = async (until: number): Promise<void> => play(world, [context], until)
    for (let jobs = 0; jobs < 300; jobs += 1) world.model.script.push(pictures(1, 'cat'))
    await minutes(world, context, { count: 1, between: alive })
    const dead = ticksOnly(world, context)
    // Those in hand still run.
    await minutes(world, context, { count: 1, between: dead })
    const calls = world.model.calls.length
    expect(calls).toBeGreaterThan(10)
    await minutes(world, context, { count: 13, between: dead })
    expect(runQuery(query, rows, world.clock.now())).toEqual([])
    await minutes(world, context, { count: 4, between: dead })
    expect(world.model.calls).toHaveLength(calls)
    expect(runQuery(query, rows, world.clock.now())).toMatchObject([{ pool: 'pool', calls: 0 }])
  })

  test('leaves a pool to its own alert while all its deployments are stopped', async () => {
    const world = newWorld()
    const { rows, context } = logged(world)
    await addQuietly(world, context, { count: 30 })
    for (let probes = 0; probes < 100; probes += 1)
      world.model.script.push(fails('unavailable', { code: '401' }))
    await minutes(world, context, { count: 20, between: async (until) => play(world, [context], until) })
    expect(runQuery(query, rows, world.clock.now())).toEqual([])
  })

  test('leaves a pool alone of whose quotas one rests while all that the other has is stopped', async () => {
    const world = newWorld()
    const { rows, context } = logged(world)
    const quotas = ['rests', 'stops'].map((name) => ({
      ...quota,
      quota: name,
      deployments: [{ deployment: name, settingsMark: 'mark' }],
    }))
    const [first] = context.pools
    const generate: Context['model']['generate'] = async ({ deployment }) => {
      await world.clock.sleepUntil(world.clock.now() + 1_000)
      return deployment === 'rests'
        ? fails('throttled', { retryAfterMs: 3_600_000, status: 429 })
        : fails('unavailable', { code: '401', status: 401 })
    }
    const mixed = { ...context, pools: [{ ...first!, quotas }], model: { generate } }
    await addQuietly(world, mixed, { count: 30 })
    const between = async (until: number): Promise<void> => play(world, [mixed], until)
    await minutes(world, mixed, { count: 30, between })
    const last = rows
      .map(({ message }) => JSON.parse(String(message)))
      .findLast(({ event }) => event === 'pool')
    expect(last).toMatchObject({ quotas: 2, paused: 1, deployments: 2, stopped: 1, open: 0, waiting: 30 })
    // Probes go out more seldom than the rule looks: as if there had been none.
    const lines = rows.filter(({ message }) => String(message).includes('"event":"pool"'))
    expect(runQuery(query, lines, world.clock.now())).toEqual([])
  })

  const line = (facts: object): Row => ({
    timestamp: 0,
    message: JSON.stringify({ event: 'pool', pool: 'a', waiting: 9, running: 0, ...facts }),
  })
  const open = { deployments: 2, stopped: 0, quotas: 2, paused: 0, open: 2 }

  test.each([
    ['one of two quotas is open', { ...open, stopped: 1, open: 1 }, 1],
    [
      'none is: one rests, and all that the other has is stopped',
      { ...open, stopped: 1, paused: 1, open: 0 },
      0,
    ],
    ['the line is of an earlier version, and does not say', { ...open, open: undefined }, 0],
    ['calls are under way', { ...open, running: 1 }, 0],
    ['nothing waits', { ...open, waiting: 0 }, 0],
  ])('where %s', (_, facts, alerts) => {
    const rows = Array.from({ length: 10 }, () => line(facts))
    expect(runQuery(query, rows, 0)).toHaveLength(alerts)
    expect(runQuery(query, [...rows, line({ ...facts, ...open, waiting: 0 })], 0)).toHaveLength(0)
  })

  test.each([
    ['a call that was short has ended', { callMs: 800, status: 429 }, 0, 0],
    ['a run came to nothing before its call', { code: 'message_late' }, 0, 1],
    ['the call is of another pool', { pool: 'b', callMs: 800 }, 0, 1],
    ['the call is long ago', { callMs: 800 }, -15 * 60_000, 1],
  ])('where the report saw nothing running, and %s', (_, facts, timestamp, alerts) => {
    const run = { timestamp, message: JSON.stringify({ event: 'run', pool: 'a', ...facts }) }
    const rows = Array.from({ length: 10 }, () => line(open))
    expect(runQuery(query, [...rows, run], 0)).toHaveLength(alerts)
  })
})
