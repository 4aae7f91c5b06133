import { setTimeout as wait } from 'node:timers/promises'
import { inboxName } from '../../src/core/jobs/keys.ts'
import { startDeploymentProcess, startHostProcess, startStorageProcess } from '../../src/local/processes.ts'
import { connectStorage } from '../../src/storage/connection.ts'
import { imageContainer } from '../../src/storage/blobs/images.ts'
import { poisonName, queueNames } from '../../src/storage/queues.ts'
import { startHosts } from './hosts.ts'
import { startKills } from './kills.ts'
import { assertNoProcessIsLeft, laws } from './laws.ts'
import { batches, messagesOf, sendInWaves } from './messages.ts'
import { keep, messagesOn, readPictures, readRows, type Records } from './records.ts'
import { summaryOf } from './summary.ts'
import { resultsOf, submitFile } from './submitted.ts'
import { startWatch } from './watch.ts'

const rpm = 300
/** Hosts are killed while these are sent, and then for as long as was asked for. */
const sending = { waves: 6, everyMs: 6_000 }

/** So many of the jobs are lines of one file. */
const submittedShare = 0.25

/** How often the deployment fails in each of its ways, beside what the marked prompts ask for. */
const faults = [
  'serverError=0.03,unavailable=0.02,timeout408=0.01,dropped=0.03,truncated=0.02,short=0.005,garbage=0.005',
  'capacity=0.003,moderationBlocked=0.01,contentPolicyViolation=0.005,contentFilter=0.005,contentFilterOutput=0.005',
].join()

/**
 * A killed host's messages stay hidden for 10 minutes on Azure. Here they come back sooner, so that a run ends sooner;
 * but later than the rescue brings back a job whose slot was lost, so that it is the rescue that does.
 */
const messageLeaseSeconds = 195

/** A message that comes back, and the rest of the attempts after it; on a busy machine it takes a while. */
const restLimitMs = 8 * 60_000

export type Options = {
  readonly minutes: number
  readonly seed: number
  readonly hosts: number
  /** Write down what was recorded, also when everything held. */
  readonly keeps: boolean
}

/** One run from the first process to the last; true when everything held. */
export async function chaos(options: Options): Promise<boolean> {
  const { minutes, seed } = options
  const all = Math.round(rpm * (minutes + (sending.waves * sending.everyMs) / 60_000))
  const lines = Math.round(all * submittedShare)
  const jobs = all - lines
  console.log(`chaos: ${all} jobs at ${rpm} RPM on ${options.hosts} hosts, again with --seed=${seed}`)
  const startedAt = Date.now()
  const azurite = await startStorageProcess()
  const deployment = await startDeploymentProcess({ rpm, latencyMs: '100-3000', faults, seed })
  const connectionString = azurite.said
  const { endpoint } = deployment
  const hosts = await startHosts(options.hosts, async () =>
    startHostProcess({ connectionString, endpoint, rpm, messageLeaseSeconds }),
  )
  const storage = await connectStorage({ kind: 'connection-string', connectionString }, async () => {
    throw new Error('development storage asks for no credential')
  })
  const { queues } = storage

  const submitted = await submitFile(hosts, { lines, seed })
  const kills = startKills(hosts, { seed, spared: Math.floor(options.hosts / 2) })
  const watch = startWatch({
    hosts,
    queues,
    batches: () => [...new Set([submitted.batch, ...batches, inboxName(startedAt), inboxName(Date.now())])],
    jobs: all,
    kills: () => kills.times.length,
  })
  watch.phase = 'sending'
  const sent = await sendInWaves(queues.getQueueClient(queueNames.jobs), messagesOf({ jobs, seed }), sending)
  watch.phase = 'all sent'
  await wait(minutes * 60_000)
  await kills.end()
  watch.phase = 'no more kills'
  await hosts.allReady()
  const isAtRest = await watch.untilAtRest(restLimitMs, async () => resultsOf(hosts, submitted))
  const results = await resultsOf(hosts, submitted)
  await watch.end()

  const rows = await readRows(storage.table('jobs'))
  const counts = await Promise.all(
    [...rows.keys()].map(async (batch) => [batch, await watch.counts(batch)] as const),
  )
  await hosts.stop()
  const records: Records = {
    rpm,
    sent: [...sent, ...submitted.sent],
    submitted: submitted.batch,
    results,
    rows,
    counts: new Map(counts),
    log: await deployment.log(),
    pictures: await readPictures(storage.blobs.getContainerClient(imageContainer)),
    poisoned: await messagesOn(queues, Object.values(queueNames).map(poisonName)),
    contradictions: watch.contradictions,
    crashes: hosts.crashes(),
    killedAt: kills.times,
    isAtRest,
  }
  await deployment.child.stop()
  await azurite.stop()
  const pids = [...hosts.pids(), deployment.child.pid, azurite.pid]

  const summary = summaryOf(records)
  console.log(`${summary.text}\nerrors     ${hosts.errors().length} logged\n`)
  for (const error of new Set(hosts.errors())) console.log(error)
  const failures = [
    ...laws.map(([name, assert]) => check(name, () => assert(records))),
    check('no process is left', () => assertNoProcessIsLeft(pids)),
  ].filter((isKept) => !isKept).length
  if (failures > 0 || options.keeps) console.log(`\nrecords in ${await keep(records, seed)}`)
  console.log(
    failures === 0
      ? `\nchaos: ${summary.jobs} jobs, all final, ${kills.times.length} kills, ${summary.labelled} repeats all labelled`
      : `\nchaos: ${failures} of ${laws.length + 1} laws broken; again with --seed=${seed}`,
  )
  return failures === 0
}

function check(name: string, assert: () => void): boolean {
  try {
    assert()
    console.log(`holds  ${name}`)
    return true
  } catch (error) {
    console.log(`BROKEN ${name}\n       ${error instanceof Error ? error.message : String(error)}`)
    return false
  }
}
