import { setTimeout as wait } from 'node:timers/promises'
import type { QueueServiceClient } from '@azure/storage-queue'
import { SingleBar } from 'cli-progress'
import { z } from 'zod'
import { queueNames } from '../../src/storage/queues.ts'
import type { Hosts } from './hosts.ts'
import { messagesOn } from './records.ts'

const countsSchema = z.object({
  total: z.number(),
  waiting: z.number(),
  running: z.number(),
  succeeded: z.number(),
  failed: z.number(),
  cancelled: z.number(),
})

export type Counts = z.infer<typeof countsSchema>

export type Watch = {
  /** Until nothing is left to be done: every job final, no message on its way, and what has an end ended. False when it did not come to that. */
  untilAtRest(limitMs: number, ended: () => Promise<unknown>): Promise<boolean>
  /** The phase that is shown. */
  phase: string
  /** Polls in which a batch's counts did not sum to its total, or were fewer than before. */
  readonly contradictions: readonly string[]
  /** Counts of a batch, as any host tells them. */
  counts(batch: string): Promise<Counts>
  end(): Promise<void>
}

const pollMs = 1_000

/** Polls the batches as their users would, all the time, and shows how it goes in one line. */
export function startWatch(of: {
  readonly hosts: Hosts
  readonly queues: QueueServiceClient
  readonly batches: () => readonly string[]
  readonly jobs: number
  readonly kills: () => number
}): Watch {
  const { hosts, queues, batches, jobs, kills } = of
  const bar = new SingleBar({
    format:
      '{bar} {value} of {total} jobs final, {running} running, {failed} failed; {kills} kills, {hosts} hosts; {phase}',
    barsize: 24,
    hideCursor: true,
    noTTYOutput: true,
    notTTYSchedule: 10_000,
  })
  const ending = new AbortController()
  const latest = new Map<string, Counts>()
  const contradictions: string[] = []
  const finalJobs = (): number => [...latest.values()].reduce((sum, counts) => sum + finalOf(counts), 0)

  async function counts(batch: string): Promise<Counts> {
    let fault: unknown
    for (const { said: url } of hosts.ready().toReversed()) {
      try {
        const response = await fetch(`${url}/v1/batches/${batch}`, { signal: AbortSignal.timeout(5_000) })
        if (response.status === 404) return { ...none }
        if (!response.ok) throw new Error(`GET /v1/batches/${batch} answered ${response.status}`)
        return z.object({ counts: countsSchema }).parse(await response.json()).counts
      } catch (error) {
        // The host may have been killed meanwhile; another one is asked.
        fault = error
      }
    }
    throw new Error(`no host told the counts of ${batch}`, { cause: fault })
  }

  async function poll(): Promise<void> {
    for (const batch of batches()) {
      const [result] = await Promise.allSettled([counts(batch)])
      if (result.status === 'rejected') continue
      const before = latest.get(batch) ?? none
      const now = result.value
      const fault = contradictionIn(before, now)
      if (fault !== undefined)
        contradictions.push(`${batch}: ${fault}; before ${shown(before)}, now ${shown(now)}`)
      latest.set(batch, now)
    }
  }

  const watch = {
    phase: 'starting',
    contradictions,
    counts,
    async untilAtRest(limitMs: number, ended: () => Promise<unknown>) {
      const endsAt = Date.now() + limitMs
      while (Date.now() < endsAt) {
        // Messages that a killed host had in hand come back too: they must find nothing to do.
        const left = await messagesOn(queues, [queueNames.jobs, queueNames.work, queueNames.batches])
        const isQuiet = finalJobs() >= jobs && [...left.values()].every((count) => count === 0)
        if (isQuiet && (await ended()) !== undefined) return true
        await wait(pollMs)
      }
      return false
    },
    async end() {
      ending.abort()
      await polling
      bar.stop()
    },
  }

  bar.start(jobs, 0, { running: 0, failed: 0, kills: 0, hosts: 0, phase: watch.phase })
  const polling = (async () => {
    while (!ending.signal.aborted) {
      await poll()
      const sum = (name: keyof Counts): number =>
        [...latest.values()].reduce((all, one) => all + one[name], 0)
      bar.update(finalJobs(), {
        running: sum('running'),
        failed: sum('failed'),
        kills: kills(),
        hosts: hosts.ready().length,
        phase: watch.phase,
      })
      await wait(pollMs)
    }
  })()
  return watch
}

const none: Counts = { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 }

function finalOf({ succeeded, failed, cancelled }: Counts): number {
  return succeeded + failed + cancelled
}

function contradictionIn(before: Counts, now: Counts): string | undefined {
  if (now.waiting + now.running + finalOf(now) !== now.total) return 'the counts do not sum to the total'
  if (now.total < before.total) return 'there were more jobs before'
  if (now.succeeded < before.succeeded || now.failed < before.failed) return 'more were final before'
  return undefined
}

function shown(counts: Counts): string {
  return JSON.stringify(counts)
}
