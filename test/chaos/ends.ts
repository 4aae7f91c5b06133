import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import type { Child } from '../../src/local/child.ts'
import type { ReceivedRequest } from '../../src/local/deployment/log.ts'
import {
  measureWorker,
  startDeploymentProcess,
  startHostProcess,
  startStorageProcess,
} from '../../src/local/processes.ts'
import { connectStorage } from '../../src/storage/connection.ts'
import { imageContainer } from '../../src/storage/blobs/images.ts'
import { poisonName, queueNames } from '../../src/storage/queues.ts'
import { storageLine, type StorageLine } from '../support/storage-line.ts'
import { allJobs, assertNoProcessIsLeft, laws } from './laws.ts'
import type { Sent } from './messages.ts'
import { messagesOn, readPictures, readRows, type Records } from './records.ts'

/** The ends that a host comes to on a platform, each as the real one was seen to do it. */
export const ends = ['terminated', 'storage-away', 'worker-killed'] as const

export type End = (typeof ends)[number]

const rpm = 120
const jobs = 90
const callSeconds = 20
/** So many calls are under way when the end comes. */
const underWayMin = 30
const awaySeconds = 120
const batch = 'ends'

/** A lease that lapses, and a rescue, for each call that was cut; and the rest of the jobs. */
const restLimitMs = 10 * 60_000

type World = {
  readonly host: Child
  readonly line: StorageLine
  readonly again: () => Promise<Child>
}

const whatHappens: Readonly<Record<End, (world: World) => Promise<Child>>> = {
  async terminated({ host, again }) {
    process.kill(host.pid, 'SIGTERM')
    await host.ended
    return again()
  },
  async 'storage-away'({ host, line }) {
    line.loseAfter(0)
    await wait(1_000 * awaySeconds)
    await line.mend()
    return host
  },
  async 'worker-killed'({ host }) {
    process.kill((await measureWorker(host)).pid, 'SIGKILL')
    return host
  },
}

/** One run to one end; true when nothing was lost, and each repeat is labelled and has a call that was cut. */
export async function runEnd(end: End): Promise<boolean> {
  console.log(`chaos: ${end}: ${jobs} jobs at ${rpm} RPM, calls of ${callSeconds} s, one host`)
  const azurite = await startStorageProcess()
  const line = await storageLine(azurite.said)
  const deployment = await startDeploymentProcess({
    rpm,
    latencyMs: `${callSeconds * 1_000}-${callSeconds * 1_000}`,
  })
  const { connectionString } = line
  const { endpoint } = deployment
  const hosts: Child[] = []
  const startOne = async (): Promise<Child> => {
    const host = await startHostProcess({ connectionString, endpoint, rpm })
    hosts.push(host)
    return host
  }
  // The records are read past the line.
  const storage = await connectStorage(
    { kind: 'connection-string', connectionString: azurite.said },
    async () => {
      throw new Error('development storage asks for no credential')
    },
  )
  const first = await startOne()
  const queue = storage.queues.getQueueClient(queueNames.jobs)
  await queue.createIfNotExists()
  const sent: Sent[] = []
  for (let number = 0; number < jobs; number += 1) {
    const customId = `job-${number}`
    const text = JSON.stringify({ prompt: `Picture ${number}`, quality: 'low', batch, custom_id: customId })
    const { messageId, insertedOn } = await queue.sendMessage(text)
    sent.push({ text, batch, customId, isValid: true, messageId, insertedAt: insertedOn.getTime() })
  }
  const isUnderWay = await until(async () => pendingIn(await deployment.log()) >= underWayMin, 180_000)
  const under = pendingIn(await deployment.log())
  const endAt = Date.now()
  const last = await whatHappens[end]({ host: first, line, again: startOne })
  const isAtRest = await until(async () => (await finishedOf(last)) === jobs, restLimitMs)
  const restSeconds = Math.round((Date.now() - endAt) / 1_000)
  const counts = isAtRest ? (await statusOf(last)).counts : none
  const log = await deployment.log()
  const records: Records = {
    rpm,
    sent,
    submitted: '',
    results: undefined,
    rows: await readRows(storage.table('jobs')),
    counts: new Map([[batch, counts]]),
    log,
    pictures: await readPictures(storage.blobs.getContainerClient(imageContainer)),
    poisoned: await messagesOn(storage.queues, Object.values(queueNames).map(poisonName)),
    contradictions: [],
    crashes: [],
    killedAt: [endAt],
    isAtRest,
  }
  for (const host of hosts) await host.stop()
  await line.stop()
  await deployment.child.stop()
  await azurite.stop()

  const labelled = allJobs(records).reduce((sum, { possiblyRepeated }) => sum + possiblyRepeated, 0)
  const stored = new Set([...records.pictures.values()].map(({ sha256 }) => sha256))
  const cut = log.filter(({ outcome }) => outcome === 'abandoned').length
  // Their answers came while storage was away, and their host has ended with them.
  const unstored = log.filter(
    ({ outcome, sha256 }) => outcome === 'succeeded' && !sha256.every((each) => stored.has(each)),
  ).length
  console.log(
    `${under} calls under way, ${cut} cut, ${unstored} answers that could be stored nowhere, ${labelled} repeats labelled, ` +
      `${log.length} calls for ${jobs} jobs; at rest after ${restSeconds} s`,
  )
  const pids = [...hosts.map(({ pid }) => pid), deployment.child.pid, azurite.pid]
  const checks: readonly (readonly [string, () => void])[] = [
    ...laws.map(([name, assert]) => [name, () => assert(records)] as const),
    [
      'every job has succeeded',
      () => {
        if (counts.succeeded !== jobs) throw new Error(`${counts.succeeded} of ${jobs} have`)
      },
    ],
    [
      // More may be labelled: a job that was claimed, and whose call had not begun, is not known from one whose call had.
      'no more repeats than calls that were cut, or whose answers could be stored nowhere',
      () => {
        const repeats = log.length - jobs
        if (repeats > cut + unstored) throw new Error(`${repeats} repeats; wanted at most ${cut + unstored}`)
      },
    ],
    [
      'the end came, with calls under way',
      () => {
        const isSeen =
          seen[end].test(first.troubles().join('\n')) || (end === 'terminated' && hosts.length === 2)
        if (!isUnderWay || cut + unstored === 0 || !isSeen)
          throw new Error(
            `${under} under way, ${cut + unstored} cut; ${first.troubles().slice(-3).join(' | ')}`,
          )
      },
    ],
    ['no process is left', () => assertNoProcessIsLeft(pids)],
  ]
  return checks.map(([name, assert]) => isKept(name, assert)).every(Boolean)
}

/** What a host says when it comes to this end. */
const seen: Readonly<Record<End, RegExp>> = {
  terminated: /given up; the next start recovers them/,
  'storage-away': /storage is out of reach: the host ends itself/,
  'worker-killed': /the worker ended; another is started/,
}

const none = { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 }

function isKept(name: string, assert: () => void): boolean {
  try {
    assert()
    console.log(`holds  ${name}`)
    return true
  } catch (error) {
    console.log(`BROKEN ${name}\n       ${error instanceof Error ? error.message : String(error)}`)
    return false
  }
}

function pendingIn(log: readonly ReceivedRequest[]): number {
  return log.filter(({ status }) => status === 'pending').length
}

const statusSchema = z.object({
  counts: z.object({
    total: z.number(),
    waiting: z.number(),
    running: z.number(),
    succeeded: z.number(),
    failed: z.number(),
    cancelled: z.number(),
  }),
})

async function statusOf(host: Child): Promise<z.infer<typeof statusSchema>> {
  const response = await fetch(`${host.said}/v1/batches/${batch}`, { signal: AbortSignal.timeout(20_000) })
  return statusSchema.parse(await response.json())
}

/** Undefined while the host gives no answer. */
async function finishedOf(host: Child): Promise<number | undefined> {
  try {
    const { counts } = await statusOf(host)
    return counts.succeeded + counts.failed + counts.cancelled
  } catch (error) {
    if (error instanceof Error) return undefined
    throw error
  }
}

/** False when it did not come to that in time. */
async function until(isSo: () => Promise<boolean>, limitMs: number): Promise<boolean> {
  for (const endsAt = Date.now() + limitMs; Date.now() < endsAt; await wait(500)) {
    if (await isSo()) return true
  }
  return false
}
