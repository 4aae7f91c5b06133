import { z } from 'zod'
import type { Flow } from '../../core/budget/fairness.ts'
import type { Level } from '../../core/budget/level.ts'
import { limits } from '../../core/limits.ts'
import type { Ledger } from '../../core/budget/ledger.ts'
import type { BudgetTable, Pool, TickState, Versioned } from '../../ports/budget.ts'
import { compareAndSet, overtaken } from '../compare-and-set.ts'
import { termsSchema } from './batch-rows.ts'
import { parseStored } from '../parse-stored.ts'
import type { Entity, Table, Values, Write } from './table.ts'

/** The budget table, PartitionKey = pool: a row for each ledger and flow, and the tick. */
export function budgetTable(table: Table): BudgetTable {
  return {
    async read(pool) {
      // Apart, so that no number of flows can crowd out the ledgers.
      const [flows, rest] = await Promise.all([
        table.range({ partition: pool, from: 'flow:', before: 'flow;', limit: limits.poolRowsMax }),
        table.range({ partition: pool, from: 'ledger:', before: 'tick~', limit: limits.poolRowsMax }),
      ])
      return toPool([...flows, ...rest])
    },

    async readLedgers(pool) {
      const limit = limits.poolRowsMax
      const rows = await table.range({ partition: pool, from: 'ledger:', before: 'ledger;', limit })
      return rows.map(readLedger)
    },

    async commit({ pool, ledgers, flows, tick }) {
      const writes = [
        ...ledgers.map(({ before, after }) => put(`ledger:${after.quota}`, before, after)),
        ...flows.map(({ before, after }) => put(`flow:${after.batch}`, before, after)),
        put('tick', tick.before, tick.after),
      ]
      const result = await table.transact(pool, writes)
      return result.kind
    },

    async readTick(pool) {
      const entity = await table.get({ partition: pool, row: 'tick' })
      return entity && parseStored('tick', tickSchema, entity.values['state'])
    },

    async readLedger({ pool, quota }) {
      const entity = await table.get({ partition: pool, row: `ledger:${quota}` })
      return entity && readLedger(entity)
    },

    async changeLedger({ pool, before, after }) {
      const result = await table.transact(pool, [put(`ledger:${after.quota}`, before, after)])
      return result.kind
    },

    async readFlow({ pool, batch }) {
      const entity = await table.get({ partition: pool, row: `flow:${batch}` })
      return entity && readFlow(entity)
    },

    async changeFlow({ pool, batch, fresh, change }) {
      const row = `flow:${batch}`
      return compareAndSet(`pool ${pool}, flow of batch ${batch}`, async () => {
        const entity = await table.get({ partition: pool, row })
        const before = entity && readFlow(entity)
        const flow = before?.value ?? (await fresh())
        const after = change(flow)
        if (after === undefined && before !== undefined) return before.value
        const result = await table.transact(pool, [put(row, before, after ?? flow)])
        return result.kind === 'committed' ? (after ?? flow) : overtaken
      })
    },

    async removeFlow({ pool, before }) {
      await table.remove({ partition: pool, row: `flow:${before.value.batch}`, version: before.version })
    },
  }
}

const bucketsSchema = z.array(z.object({ at: z.number(), count: z.number() }))

const breakerSchema = z.object({
  code: z.string(),
  message: z.string(),
  openedAt: z.number(),
  probeSlotAt: z.number().nullable(),
  nextProbeAt: z.number(),
  probes: z.number(),
})

const levelSchema = z.object({
  toldRpm: z.number().nullable(),
  limitRpm: z.number().nullable(),
  heldRpm: z.number().nullable(),
  triedRpm: z.number().nullable(),
  since: z.number(),
  step: z.number(),
  refusal: z.object({ rpm: z.number(), at: z.number() }).nullable(),
  credit: z.number(),
  countedAt: z.number(),
  pause: z.object({
    cause: z.enum(['none', 'rate', 'capacity', 'parked']),
    until: z.number(),
    givenUntil: z.number(),
    settledAt: z.number(),
    tries: z.number(),
  }),
  capacityAt: z.array(z.number()),
  surprisesAt: z.array(z.number()),
}) satisfies z.ZodType<Level>

const ledgerSchema = z.object({
  quota: z.string(),
  deployments: z.array(
    z.object({
      deployment: z.string(),
      settingsMark: z.string(),
      breaker: breakerSchema.nullable(),
      faultsRecently: bucketsSchema,
    }),
  ),
  rpm: z.number(),
  pace: z.number(),
  topPace: z.number(),
  level: levelSchema,
  nextFreeAt: z.number(),
  pausedUntil: z.number(),
  pauseReason: z.string().nullable(),
  starts: z.array(z.object({ firstAt: z.number(), lastAt: z.number(), count: z.number() })),
  recalled: z.array(z.object({ batch: z.string(), epoch: z.number(), at: z.number() })),
  leadMs: z.number(),
  leadLowerAt: z.number(),
}) satisfies z.ZodType<Ledger>

const flowSchema = termsSchema.extend({
  batch: z.string(),
  owner: z.string().nullable(),
  share: z.number(),
  tag: z.number(),
  idleSince: z.number().nullable(),
  backlog: z.object({ waiting: z.number(), at: z.number() }).nullable(),
}) satisfies z.ZodType<Flow>

const tickSchema = z.object({
  epoch: z.number(),
  dueAt: z.number().nullable(),
  hasRoom: z.boolean(),
  virtualTime: z.number(),
  instance: z.string(),
  aloneSince: z.number(),
  mark: z.string(),
})

function toPool(rows: readonly Entity[]): Pool {
  const tick = rows.find(({ row }) => row === 'tick')
  return {
    ledgers: rows.filter(({ row }) => row.startsWith('ledger:')).map(readLedger),
    flows: rows.filter(({ row }) => row.startsWith('flow:')).map(readFlow),
    tick: tick && { value: parseStored('tick', tickSchema, tick.values['state']), version: tick.version },
  }
}

function readLedger(entity: Entity): Versioned<Ledger> {
  return { value: parseStored('ledger', ledgerSchema, entity.values['state']), version: entity.version }
}

function readFlow(entity: Entity): Versioned<Flow> {
  return { value: parseStored('flow', flowSchema, entity.values['state']), version: entity.version }
}

function put(
  row: string,
  before: { readonly version: string } | undefined,
  state: Ledger | Flow | TickState,
): Write {
  const values: Values = { state: JSON.stringify(state) }
  return before === undefined
    ? { kind: 'insert', row, values }
    : { kind: 'merge', row, values, version: before.version }
}
