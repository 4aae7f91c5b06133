import { committedMicroUsd, noCounters, sum, type Counters } from '../../core/jobs/counters.ts'
import { limits } from '../../core/limits.ts'
import type { Clock } from '../../ports/clock.ts'
import { countRow, countRows, readCounters, writeCounters } from './job-rows.ts'
import type { Table, Write } from './table.ts'

/** One change of one job: its rows, and what it does to the batch's counters. */
export type RowChange = {
  readonly key: string
  /** The job's record first. */
  readonly writes: readonly Write[]
  readonly count: ((counters: Counters) => Counters) | undefined
  /** The change is made only while the batch's commitments, with this cost, stay within the cap. */
  readonly cap?: { readonly microUsd: number; readonly capMicroUsd: number }
  /** After a conflict: was it an earlier try of this very change, whose answer was lost? */
  readonly isApplied: () => Promise<boolean>
  /** How long it may wait for another change of its partition, to share a transaction with. */
  readonly mayWaitMs?: number
}

export type RowChangeResult =
  /** With the version of the job's record after it; empty when an earlier try has written it. */
  | { readonly kind: 'written'; readonly version: string }
  /** The rows were not as the change asked for. */
  | { readonly kind: 'overtaken' }
  | { readonly kind: 'over-cap' }

export type PartitionWriter = { write(partition: string, change: RowChange): Promise<RowChangeResult> }

type Pending = {
  readonly change: RowChange
  /** When it must be on its way. */
  readonly dueAt: number
  readonly resolve: (result: RowChangeResult) => void
  readonly reject: (reason: unknown) => void
}

/** The changes of one partition. They wait for company until `waitUntil`, or until `hurry`. */
type Lane = { readonly pending: Pending[]; waitUntil: number; hurry: AbortController }

/** The shard of the counters that this instance writes in one batch, as it last stood there. */
type Shard = { readonly index: number; readonly counters: Counters; readonly version: string | undefined }

/** The row of counters that all changes under a cap go through. */
const cappedShard = 0
/** A change of a job: its record, an index row deleted and one inserted. */
const entitiesOfJob = 3
/** A group's prompts: a transaction holds 4 MiB, a character up to 6 bytes of JSON. */
const groupCharsMax = 500_000
/** Batches whose shard is remembered; a forgotten one costs a read. */
const shardsMax = 1_000

/**
 * Writes changes of jobs. Those of one batch that come while a transaction is under way go into the next one
 * together, so that busy times cost few operations and an instance never competes with itself for the counters.
 *
 * The counters of a batch are spread over a few rows. Each instance keeps to one of them, and moves to another by
 * chance when it meets somebody else there (as a striped adder does), so that a write seldom needs a read.
 *
 * Changes under a cap are all counted in the first row. Of all changes of a job only they raise what the batch is
 * committed to, so the other rows, read before, can only have fallen since: within the cap then is within it now.
 */
export function partitionWriter(
  table: Table,
  { chance, clock }: { chance: () => number; clock: Clock },
): PartitionWriter {
  const lanes = new Map<string, Lane>()
  const shards = new Map<string, Shard>()

  return {
    async write(partition, change) {
      return new Promise((resolve, reject) => {
        const lane = lanes.get(partition)
        const dueAt = clock.now() + (change.mayWaitMs ?? 0)
        const pending: Pending = { change, dueAt, resolve, reject }
        if (lane !== undefined) {
          lane.pending.push(pending)
          if (dueAt < lane.waitUntil || isFull(lane.pending)) lane.hurry.abort()
          return
        }
        const made: Lane = { pending: [pending], waitUntil: 0, hurry: new AbortController() }
        lanes.set(partition, made)
        void drain(partition, made)
      })
    },
  }

  async function drain(partition: string, lane: Lane): Promise<void> {
    while (lane.pending.length > 0) {
      await waitForCompany(lane)
      const group = nextGroup(lane.pending)
      try {
        await writeGroup(partition, group)
      } catch (error) {
        // Nobody knows whether it was written: what the counters were is no longer known either.
        shards.delete(partition)
        for (const { reject } of group) reject(error)
      }
    }
    lanes.delete(partition)
  }

  /** Until the first change must be on its way, or a transaction is full; the others go with it. */
  async function waitForCompany(lane: Lane): Promise<void> {
    for (;;) {
      const dueAt = Math.min(...lane.pending.map((pending) => pending.dueAt))
      if (dueAt <= clock.now() || isFull(lane.pending)) return
      lane.waitUntil = dueAt
      lane.hurry = new AbortController()
      await clock.sleepUntil(dueAt, lane.hurry.signal)
    }
  }

  /** As many waiting changes as one transaction takes; two changes of one job never share one. */
  function nextGroup(lane: Pending[]): Pending[] {
    const group: Pending[] = []
    const keys = new Set<string>()
    let entities = 1
    let chars = 0
    for (const pending of lane) {
      const { key, writes } = pending.change
      const size = writes.reduce((total, write) => total + sizeChars(write), 0)
      const isFull =
        group.length > 0 &&
        (entities + writes.length > limits.transactionEntitiesMax || chars + size > groupCharsMax)
      if (isFull || keys.has(key)) break
      entities += writes.length
      chars += size
      keys.add(key)
      group.push(pending)
    }
    lane.splice(0, group.length)
    return group
  }

  async function writeGroup(partition: string, all: readonly Pending[]): Promise<void> {
    let group = all
    for (let tries = 0; group.length > 0; tries += 1) {
      if (tries >= limits.commitTriesMax + all.length) {
        throw new Error(`batch ${partition}: no transaction came through in ${tries} tries; too many writers`)
      }
      const isCapped = group.some(({ change }) => change.cap !== undefined)
      const isCounted = group.some(({ change }) => change.count !== undefined)
      const others = isCapped ? await committedElsewhere(partition) : 0
      // A cap is not said to be reached on the word of what was read a while ago.
      if (isCapped) shards.delete(partition)
      const shard = isCounted ? await loadShard(partition, isCapped ? cappedShard : undefined) : undefined
      let counters = shard?.counters ?? noCounters
      group = group.filter(({ change: { count, cap }, resolve }) => {
        const isWithin =
          cap === undefined || others + committedMicroUsd(counters) + cap.microUsd <= cap.capMicroUsd
        if (isWithin) counters = count?.(counters) ?? counters
        else resolve({ kind: 'over-cap' })
        return isWithin
      })
      if (group.length === 0) return
      const writes = group.flatMap(({ change }) => change.writes)
      const result = await table.transact(
        partition,
        shard === undefined ? writes : [...writes, shardWrite(shard, counters)],
      )
      if (result.kind === 'committed') {
        if (shard !== undefined) {
          remember(partition, { index: shard.index, counters, version: result.versions[writes.length] })
        }
        let first = 0
        for (const { change, resolve } of group) {
          resolve({ kind: 'written', version: result.versions[first] ?? '' })
          first += change.writes.length
        }
        return
      }
      if (isCapped && (await isWritten(partition, group))) return
      if (shard !== undefined && result.conflictAt === writes.length) {
        shards.delete(partition)
        continue
      }
      // Whose write it was; where the store does not say, the changes are tried one by one.
      const loser = result.conflictAt === undefined ? undefined : ownerOf(group, result.conflictAt)
      if (loser === undefined && group.length > 1) {
        shards.delete(partition)
        for (const pending of group) await writeGroup(partition, [pending])
        return
      }
      // Of one that is alone, only the counters themselves can tell whether they were in the way.
      if (loser === undefined && shard !== undefined) {
        shards.delete(partition)
        const now = await loadShard(partition, shard.index)
        if (now.version !== shard.version) continue
      }
      const lost = loser ?? group[0]
      if (lost === undefined) return
      if (await isWritten(partition, [lost, ...group.filter((pending) => pending !== lost)])) return
      lost.resolve({ kind: 'overtaken' })
      group = group.filter((pending) => pending !== lost)
    }
  }

  /** Whether an earlier try, whose answer was lost, stands in the way: it wrote the whole group, or nothing. */
  async function isWritten(partition: string, group: readonly Pending[]): Promise<boolean> {
    const [first] = group
    if (first === undefined || !(await first.change.isApplied())) return false
    shards.delete(partition)
    for (const { resolve } of group) resolve({ kind: 'written', version: '' })
    return true
  }

  /** What the batch is committed to in the rows of counters beside the one that caps are kept in. */
  async function committedElsewhere(partition: string): Promise<number> {
    const entities = await Promise.all(
      countRows.filter((_, index) => index !== cappedShard).map(async (row) => table.get({ partition, row })),
    )
    return committedMicroUsd(
      sum(entities.flatMap((entity) => (entity === undefined ? [] : [readCounters(entity)]))),
    )
  }

  /** The row remembered, else the one asked for, else one by chance. */
  async function loadShard(partition: string, asked?: number): Promise<Shard> {
    const known = shards.get(partition)
    if (known !== undefined && (asked === undefined || known.index === asked)) return known
    const index = asked ?? Math.floor(chance() * limits.countShards)
    const entity = await table.get({ partition, row: countRow(index) })
    const shard: Shard = {
      index,
      counters: entity === undefined ? noCounters : readCounters(entity),
      version: entity?.version,
    }
    remember(partition, shard)
    return shard
  }

  function remember(partition: string, shard: Shard): void {
    shards.delete(partition)
    shards.set(partition, shard)
    const [oldest] = shards.keys()
    if (shards.size > shardsMax && oldest !== undefined) shards.delete(oldest)
  }
}

function isFull(pending: readonly Pending[]): boolean {
  const entities = pending.reduce((sum, { change }) => sum + change.writes.length, 1)
  return entities + entitiesOfJob > limits.transactionEntitiesMax
}

function shardWrite(shard: Shard, counters: Counters): Write {
  const row = countRow(shard.index)
  const values = writeCounters(counters)
  return shard.version === undefined
    ? { kind: 'insert', row, values }
    : { kind: 'merge', row, values, version: shard.version }
}

function ownerOf(group: readonly Pending[], writeIndex: number): Pending | undefined {
  let end = 0
  return group.find(({ change }) => {
    end += change.writes.length
    return writeIndex < end
  })
}

function sizeChars(write: Write): number {
  if (write.kind === 'delete') return 0
  return Object.values(write.values).reduce((chars, value) => chars + value.length, 0)
}
