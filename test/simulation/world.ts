import { expect } from 'vitest'
import { localCaller } from '../../src/core/caller.ts'
import type { FailureKind, OnUnknown } from '../../src/core/jobs/failure.ts'
import { isFinal, type Job } from '../../src/core/jobs/job.ts'
import { inboxName, keyOf } from '../../src/core/jobs/keys.ts'
import { profileOfDeployment } from '../../src/core/requests/profiles.ts'
import { submissionParser } from '../../src/core/requests/submission-parser.ts'
import { decodeBase64 } from '../../src/model/base64.ts'
import type { Priority } from '../../src/core/requests/submission.ts'
import { nudge } from '../../src/pipeline/pacing/announce.ts'
import { cancelBatch, pauseBatch, resumeBatch, type Decided } from '../../src/pipeline/batches/batches.ts'
import { changeBatch } from '../../src/pipeline/batches/change-batch.ts'
import { retryJobs } from '../../src/pipeline/batches/batch-jobs.ts'
import type { Context } from '../../src/pipeline/context.ts'
import { takeMessage, takePoisoned, takeRequest } from '../../src/pipeline/intake/intake.ts'
import { runTick } from '../../src/pipeline/pacing/pacer.ts'
import { rescue } from '../../src/pipeline/running/rescue.ts'
import { giveUpSlot, runJob } from '../../src/pipeline/running/worker.ts'
import type { BatchTask, TickMessage, WorkMessage } from '../../src/ports/messages.ts'
import type { JobRef } from '../../src/ports/jobs.ts'
import type { Chance } from '../../src/ports/clock.ts'
import { readJob } from '../../src/storage/tables/job-rows.ts'
import {
  assertAllFinished,
  assertCountedOnce,
  assertNeverFasterThan,
  assertNothingStartsAfter,
  assertRepeatsAreLabelled,
  assertRowsAgree,
  assertWithinCap,
  type PaidCall,
} from '../support/laws.ts'
import { memoryImages } from '../support/memory-images.ts'
import { memoryTable, type RowMove } from '../support/memory-table.ts'
import { costs } from '../support/context.ts'
import { virtualClock, type VirtualClock } from '../support/virtual-clock.ts'
import { simulatedDeployment, type Call, type ModelFaults, type SimulatedDeployment } from './deployment.ts'
import { startInstance, type Instance, type InstanceSettings } from './instance.ts'
import { simulatedQueue, type Message, type QueueSettings, type SimulatedQueue } from './queue.ts'
import { retriesIn } from './retries.ts'

/** What an owner asks for a batch, over HTTP: sent again until it is answered. */
export type Action = {
  readonly afterMs: number
  readonly batch: string
} & (
  | { readonly kind: 'pause' | 'resume' | 'cancel' }
  | { readonly kind: 'change'; readonly priority?: Priority; readonly capMicroUsd?: number | null }
  | { readonly kind: 'retry'; readonly kinds: readonly FailureKind[] }
)

export type Submission = {
  /** After the start of the simulation. */
  readonly afterMs: number
  readonly via: 'queue' | 'http'
  readonly text: string
  /** Of what comes over HTTP: the API key that sends it; without one it belongs to none. */
  readonly apiKey?: string
}

/** What happens to one simulated app, all of it drawn from one source of chance. */
export type Scenario = {
  readonly chance: Chance
  readonly rpm: number
  readonly deployments: number
  readonly instances: number
  readonly submissions: readonly Submission[]
  readonly actions: readonly Action[]
  /** All deployments draw on one quota. */
  readonly isOneQuota: boolean
  readonly onUnknown: OnUnknown
  readonly attemptsMax: number
  readonly wakeDelayMs: () => number
  readonly callMs: () => number
  readonly storageMs: () => number
  readonly timerLateMs: () => number
  readonly skewMs: () => number
  /** How many of its functions of one queue an instance runs at once. */
  readonly atOnce: number
  /** Hosts the functions of some queues on instances of their own, which come and go; else every instance runs all. */
  readonly host?: Host
  readonly modelFaults: ModelFaults
  /** Until `untilMs` after the start; then the world is well again. */
  readonly chaos: {
    readonly untilMs: number
    readonly storageFaults: number
    readonly duplicates: number
    /** The operation of storage in which an instance dies, drawn anew for each. */
    readonly diesAtOperation: () => number
    /** Times at which an instance is killed, asked to stop and killed a little later, cut off, or frozen. */
    readonly accidents: readonly {
      readonly afterMs: number
      readonly kind: 'kill' | 'stop' | 'cut-off' | 'freeze'
      readonly forMs: number
    }[]
  }
  /** The run is cut off then, whatever is left to do. */
  readonly endsAfterMs?: number
  /** What somebody looks at from time to time, on any instance. */
  readonly watch?: { readonly everyMs: number; readonly look: (context: Context) => Promise<void> }
  /** Law 2 is asked after every transaction; large runs ask at the end. */
  readonly checksEveryStep: boolean
}

/** Undefined for a queue that it leaves to the instances that run all functions. */
export type Host = <T>(queue: HostedQueue<T>) => SimulatedQueue<T> | undefined

export type HostedQueue<T> = {
  readonly name: string
  readonly clock: VirtualClock
  readonly chance: Chance
  /** A new instance, which nobody starts again when it ends. */
  readonly launch: () => Instance
  readonly handle: (instance: Instance, message: Message<T>) => Promise<unknown>
  readonly handlePoison: (instance: Instance, message: Message<T>) => Promise<unknown>
}

export type Run = {
  readonly calls: readonly Call[]
  readonly jobs: readonly Job[]
  readonly tookMs: number
  readonly startedAt: number
}

export const startAt = Date.UTC(2026, 0, 5, 12)

/** Nothing of what is simulated takes longer; a run that does has lost a job, or keeps it from its turn. */
const deadlineMs = 3_600_000
/** After the last job is done: answers that come too late, messages that come again. */
const aftermathMs = 15 * 60_000

export async function simulate(scenario: Scenario): Promise<Run> {
  const { chance, rpm, chaos } = scenario
  const clock = virtualClock(startAt)
  const isChaos = (): boolean => clock.now() < startAt + chaos.untilMs
  let broken: unknown

  const unfinished = new Set<string>()
  const claims = new Map<string, number[]>()
  const prompts = new Map<string, JobRef>()

  function observe(batch: string, moves: readonly RowMove[]): void {
    for (const { row, after, before } of moves) {
      if (!row.startsWith('job:') || after === undefined) continue
      const ref = { batch, key: row.slice('job:'.length) }
      const job = readJob(ref, after)
      const name = nameOf(ref)
      if (isFinal(job)) unfinished.delete(name)
      else unfinished.add(name)
      if (before !== undefined) retries.observe(readJob(ref, before), job)
      if (before === undefined && job.request !== null) prompts.set(job.request.prompt, ref)
      if (
        before !== undefined &&
        job.phase.kind === 'running' &&
        readJob(ref, before).phase.kind === 'slotted'
      ) {
        claims.set(name, [...(claims.get(name) ?? []), clock.now()])
      }
    }
    if (scenario.checksEveryStep) {
      try {
        assertRowsAgree(batch, jobs.rows(batch))
      } catch (error) {
        broken ??= error
      }
    }
  }

  const jobs = memoryTable(observe)
  const retries = retriesIn(jobs)
  const budget = memoryTable()
  const images = memoryImages()
  const deploymentNames = Array.from({ length: scenario.deployments }, (_, index) => `gpt-image-1-${index}`)
  const groups = scenario.isOneQuota ? [deploymentNames] : deploymentNames.map((deployment) => [deployment])
  const pool = groups.map((members, index) => ({
    quota: `quota-${index}`,
    rpm,
    pace: 0.98,
    deployments: members.map((deployment) => ({ deployment, settingsMark: 'mark' })),
  }))
  const deployments = new Map<string, SimulatedDeployment>(
    deploymentNames.map((deployment) => [
      deployment,
      simulatedDeployment(deployment, {
        clock,
        chance,
        rpm,
        callMs: scenario.callMs,
        faults: scenario.modelFaults,
      }),
    ]),
  )
  const callsMade = (): Call[] => [...deployments.values()].flatMap(({ calls }) => calls)

  const instances: Instance[] = []
  const queueSettings: QueueSettings = {
    clock,
    chance,
    instances: () => instances,
    wakeDelayMs: scenario.wakeDelayMs,
    duplicates: () => (isChaos() ? chaos.duplicates : 0),
    atOnce: scenario.atOnce,
  }
  function queueOf<T>(
    name: string,
    handle: HostedQueue<T>['handle'],
    handlePoison: HostedQueue<T>['handlePoison'],
  ): SimulatedQueue<T> {
    const launch = (): Instance => startInstance({ ...instanceSettings(), onKilled() {} })
    const hosted = scenario.host?.({ name, clock, chance, launch, handle, handlePoison })
    return hosted ?? simulatedQueue(name, queueSettings, handle, handlePoison)
  }

  const poisoned = new Set<string>()
  const jobsQueue = queueOf<string>(
    'image-jobs',
    async ({ context }, { id, body, insertedAt }) =>
      takeMessage(context, { text: body, messageId: id, insertedAt }),
    async ({ context }, { id, body, insertedAt }) => {
      poisoned.add(id)
      return takePoisoned(context, { text: body, messageId: id, insertedAt })
    },
  )
  const workQueue = queueOf<WorkMessage>(
    'image-work',
    async ({ context }, { body }) => runJob(context, body),
    async ({ context }, { body }) => giveUpSlot(context, body),
  )
  const tickQueue = queueOf<TickMessage>(
    'pacer',
    async ({ context }, { body }) => runTick(context, body),
    async ({ context }) => nudge(context, poolName),
  )

  // No batch of the simulation is submitted by file: what it does in the background is the rest of a long retry.
  const batchQueue = queueOf<BatchTask>(
    'batch-work',
    async ({ context }, { body }) => (body.task === 'retry' ? retryJobs(context, body) : undefined),
    // Tried again in an hour by the function; nothing that is simulated lasts so long.
    async ({ context }, { body }) => context.messages.sendBatchTask(body, context.clock.now() + 60_000),
  )

  function instanceSettings(): Omit<InstanceSettings, 'onKilled'> {
    return {
      clock,
      chance,
      stores: {
        jobs,
        budget,
        images,
        messages: {
          sendBatchTask: async (task, at) => {
            batchQueue.send(task, wholeSecondsFrom(clock.now(), at))
          },
          // The service counts whole seconds; the adapter rounds down.
          sendWork: async (message, at) => {
            workQueue.send(message, wholeSecondsFrom(clock.now(), at))
          },
          sendTick: async (message, at) => {
            tickQueue.send(message, wholeSecondsFrom(clock.now(), at))
          },
          async sendHook() {
            throw new Error('no batch of the simulation has a webhook')
          },
        },
      },
      deployments,
      settings: {
        parse,
        pools: [{ name: poolName, quotas: pool, costs }],
        refusalShareMax: 0.3,
        attemptsMax: scenario.attemptsMax,
        onUnknown: scenario.onUnknown,
      },
      jobsAtOnce: scenario.atOnce,
      skewMs: scenario.skewMs(),
      storageMs: scenario.storageMs,
      storageFaults: () => (isChaos() ? chaos.storageFaults : 0),
      timerLateMs: scenario.timerLateMs,
      diesAtOperation: isChaos() ? chaos.diesAtOperation() : Infinity,
      onStored: (requestId) => {
        for (const { calls } of deployments.values()) {
          const call = calls.find(({ id }) => id === requestId)
          if (call !== undefined) call.storedAt ??= clock.now()
        }
      },
    }
  }

  function start(): void {
    const instance = startInstance({
      ...instanceSettings(),
      onKilled: () => {
        instances.splice(instances.indexOf(instance), 1)
        clock.at(clock.now() + 1_000 + chance() * 30_000, start)
      },
    })
    instances.push(instance)
  }

  for (let index = 0; index < scenario.instances; index += 1) start()

  const anyInstance = (): Instance | undefined => instances[Math.floor(chance() * instances.length)]

  for (const { afterMs, kind, forMs } of chaos.accidents) {
    clock.at(startAt + afterMs, () => {
      const instance = anyInstance()
      const until = clock.now() + forMs
      switch (kind) {
        case 'kill':
          return instance?.kill()
        case 'stop':
          instance?.stop()
          return clock.at(until, () => instance?.kill())
        case 'cut-off':
          return instance?.cutOff(until)
        case 'freeze':
          return instance?.freeze(until)
      }
    })
  }

  const rescueEveryMinute = (): void => {
    const instance = anyInstance()
    void instance?.runs('rescue', rescue(instance.context)).catch(() => {})
    clock.at(clock.now() + 60_000, rescueEveryMinute)
  }
  clock.at(startAt + 60_000, rescueEveryMinute)

  const { watch } = scenario
  if (watch !== undefined) {
    const look = (): void => {
      const instance = anyInstance()
      void instance?.runs('watch', watch.look(instance.context)).catch(() => {})
      clock.at(clock.now() + watch.everyMs, look)
    }
    clock.at(startAt + watch.everyMs, look)
  }

  const sent: Sent[] = []
  let unsent = scenario.submissions.length
  for (const [index, { afterMs, via, text, apiKey }] of scenario.submissions.entries()) {
    clock.at(startAt + afterMs, () => {
      if (via === 'queue') {
        sent.push({ text, messageId: jobsQueue.send(text, clock.now()) })
        unsent -= 1
      } else {
        sent.push({ text, messageId: '' })
        post({ text, idempotencyKey: `client-${index}`, apiKey }, () => (unsent -= 1))
      }
    })
  }

  function post(
    { apiKey, ...asked }: { text: string; idempotencyKey: string; apiKey: string | undefined },
    done: () => void,
  ): void {
    const caller = apiKey === undefined ? localCaller : { key: apiKey, isAdmin: false, isReadOnly: false }
    untilAnswered(
      async ({ context }) => takeRequest(context, { ...asked, caller, requestId: `request-${chance()}` }),
      done,
    )
  }

  /**
   * A client that asks again until it is answered. Its earlier requests may hang in an instance that stands still, and
   * take effect when that goes on: it is done when none of them can any more.
   */
  function untilAnswered(request: (instance: Instance) => Promise<unknown>, done: () => void): void {
    const underWay = new Set<{ readonly instance: Instance }>()
    let isAnswered = false
    let isDone = false
    const look = (): void => {
      if (isDone) return
      if (isAnswered && ![...underWay].some(({ instance }) => instance.isAlive())) {
        isDone = true
        return done()
      }
      const instance = isAnswered ? undefined : anyInstance()
      if (instance !== undefined) {
        const asked = { instance }
        underWay.add(asked)
        const settled = (isGood: boolean): void => {
          underWay.delete(asked)
          isAnswered ||= isGood
          if (isAnswered) look()
        }
        instance.runs('http', request(instance)).then(
          () => settled(true),
          () => settled(false),
        )
      }
      clock.at(clock.now() + 20_000, look)
    }
    look()
  }

  const answered: Answered[] = []
  // An owner asks for one thing after the other; retries may be somebody else's.
  const whoAsks = ({ batch, kind }: Action): string =>
    `${batch}, ${kind === 'retry' ? 'retries' : 'the rest'}`
  for (const actions of Map.groupBy(scenario.actions, whoAsks).values()) {
    const [first, ...others] = [...actions].sort((x, y) => x.afterMs - y.afterMs)
    const rest = [...others]
    const askFor = (action: Action | undefined): void => {
      if (action === undefined) return
      clock.at(Math.max(clock.now(), startAt + action.afterMs), () => {
        const askedAt = clock.now()
        let isKnown = false
        untilAnswered(
          async ({ context }) => {
            isKnown =
              action.kind === 'retry' ? await retries.ask(context, action) : await act(context, action)
          },
          () => {
            answered.push({ ...action, isKnown, askedAt, answeredAt: clock.now() })
            askFor(rest.shift())
          },
        )
      })
    }
    askFor(first)
  }

  const isUndone = (): boolean =>
    broken === undefined &&
    (unsent > 0 ||
      answered.length < scenario.actions.length ||
      jobsQueue.size() > 0 ||
      batchQueue.size() > 0 ||
      unfinished.size > 0)
  if (scenario.endsAfterMs !== undefined) {
    await clock.runWhile(isUndone, startAt + scenario.endsAfterMs)
    return {
      calls: callsMade(),
      jobs: [...jobs.partitions()].flatMap((batch) => assertRowsAgree(batch, jobs.rows(batch)).jobs),
      tookMs: scenario.endsAfterMs,
      startedAt: startAt,
    }
  }
  const isInTime = await clock.runWhile(isUndone, startAt + deadlineMs)
  const tookMs = clock.now() - startAt
  if (broken === undefined && isInTime) {
    const end = clock.now() + aftermathMs
    await clock.runWhile(() => broken === undefined, end)
  }
  if (broken !== undefined) throw broken

  const calls = callsMade()
  for (const members of groups) {
    const starts = calls
      .filter(({ deployment }) => members.includes(deployment))
      .map((call) => call.startedAt)
    assertNeverFasterThan(starts, { rpm })
  }
  const callsOfJobs = paidCalls(calls, { prompts, claims })
  const callsOf = (job: JobRef): readonly PaidCall[] => callsOfJobs.get(nameOf(job)) ?? []
  const cancelledBatches = new Set(
    scenario.actions.flatMap(({ kind, batch }) => (kind === 'cancel' ? [batch] : [])),
  )
  const openedBatches = new Set(
    scenario.actions.flatMap(({ kind, batch }) => (kind === 'change' ? [batch] : [])),
  )
  const wanted = wantedKeys(sent, { poisoned, cancelledBatches, openedBatches })
  expect([...jobs.partitions()].sort(), 'batches').toEqual([...wanted.keys()].sort())
  const all: Job[] = []
  for (const batch of jobs.partitions()) {
    const rows = jobs.rows(batch)
    const content = assertRowsAgree(batch, rows)
    const keys = content.jobs.map(({ key }) => key)
    const { must, oneOf, optional } = wanted.get(batch)!
    const may = new Set([...oneOf.flat(), ...optional])
    assertAllFinished(batch, rows, [...must, ...keys.filter((key) => may.has(key) && !must.has(key))])
    for (const either of oneOf)
      expect(
        keys.some((key) => either.includes(key)),
        `one of ${either.join()}`,
      ).toBe(true)
    assertCountedOnce(content, callsOf)
    for (const job of content.jobs) assertRepeatsAreLabelled(job, callsOf(job))
    all.push(...content.jobs)
  }
  retries.assertKept()
  const isOf =
    (batch: string) =>
    ({ prompt }: Call): boolean =>
      prompts.get(prompt)?.batch === batch
  for (const { kind, batch, isKnown, answeredAt } of answered) {
    if (kind === 'cancel' && isKnown) assertNothingStartsAfter(answeredAt, calls.filter(isOf(batch)))
  }
  for (const [batch, caps] of Map.groupBy(answered.filter(isCap), (action) => action.batch)) {
    const ofBatch = calls.filter(isOf(batch)).map((call) => {
      const job = prompts.get(call.prompt)
      const request = all.find(({ key }) => key === job?.key)?.request ?? { prompt: '' }
      const isBilled = call.outcome === 'images' || call.outcome === 'dropped'
      return {
        ...call,
        upperMicroUsd: costs.upperMicroUsd(request),
        costMicroUsd: isBilled ? costs.actualMicroUsd(request, call.usage) : 0,
      }
    })
    assertWithinCap(batch, ofBatch, caps)
  }
  return { calls, jobs: all, tookMs, startedAt: startAt }
}

type Answered = Action & {
  readonly isKnown: boolean
  readonly askedAt: number
  readonly answeredAt: number
}

type Cap = Extract<Answered, { kind: 'change' }> & { readonly capMicroUsd: number | null }

function isCap(action: Answered): action is Cap {
  return action.kind === 'change' && action.capMicroUsd !== undefined
}

/** False for a batch that nobody knows yet. */
async function act(context: Context, action: Exclude<Action, { kind: 'retry' }>): Promise<boolean> {
  const { batch } = action
  switch (action.kind) {
    case 'pause':
      return isDone(await pauseBatch(context, batch, 'for the test'))
    case 'resume':
      return isDone(await resumeBatch(context, batch, 'for the test'))
    case 'cancel':
      return isDone(await cancelBatch(context, batch, 'for the test'))
    case 'change': {
      const changed = await changeBatch(context, { batch }, action)
      if (changed.kind !== 'done') throw new Error(`batch ${batch} was not changed: ${changed.kind}`)
      return true
    }
  }
}

function isDone({ kind }: Decided): boolean {
  return kind === 'done'
}

/** Each deployment's calls as the laws want them: whose they are, and what is known of their answers. */
function paidCalls(
  calls: readonly Call[],
  {
    prompts,
    claims,
  }: { prompts: ReadonlyMap<string, JobRef>; claims: ReadonlyMap<string, readonly number[]> },
): Map<string, PaidCall[]> {
  const found = new Map<string, PaidCall[]>()
  for (const call of calls) {
    const job = prompts.get(call.prompt)
    if (job === undefined) throw new Error(`a call for a prompt of no job: ${call.prompt}`)
    const name = nameOf(job)
    const claimedAt = (claims.get(name) ?? []).findLast((at) => at <= call.startedAt)
    if (claimedAt === undefined) throw new Error(`job ${name} was called without having been claimed`)
    const isPaid = call.outcome === 'images' || call.outcome === 'dropped'
    const answer = !isPaid
      ? 'error'
      : call.outcome === 'images' && call.receivedAt !== undefined
        ? 'images'
        : 'lost'
    const { id, startedAt, storedAt, usage, sha256 } = call
    found.set(name, [
      ...(found.get(name) ?? []),
      { job, id, startedAt, claimedAt, answer, storedAt, usage, sha256 },
    ])
  }
  return found
}

type Sent = { readonly text: string; readonly messageId: string }

type Wanted = {
  readonly must: Set<string>
  readonly oneOf: (readonly string[])[]
  readonly optional: string[]
}

/**
 * The jobs that must be there in the end; of a poisoned message, and of one to a batch that was cancelled, its own or a
 * rejected one, or both.
 */
function wantedKeys(
  sent: readonly Sent[],
  {
    poisoned,
    cancelledBatches,
    openedBatches,
  }: {
    poisoned: ReadonlySet<string>
    cancelledBatches: ReadonlySet<string>
    /** A change of priority or cap opens its batch, whether or not a job ever comes. */
    openedBatches: ReadonlySet<string>
  },
): Map<string, Wanted> {
  const nothing = (): Wanted => ({ must: new Set(), oneOf: [], optional: [] })
  const wanted = new Map([...openedBatches].map((batch) => [batch, nothing()]))
  for (const { text, messageId } of sent) {
    const parsed = parse(text)
    const { customId, batch } = parsed.kind === 'valid' ? parsed.submission : parsed
    const rejected = keyOf({ kind: 'rejected', id: `${customId ?? ''}\n${messageId}\n${text}` })
    const own =
      customId === null
        ? keyOf({ kind: 'message', id: messageId })
        : keyOf({ kind: 'custom-id', id: customId })
    const name = batch ?? inboxName(startAt)
    const keys = wanted.get(name) ?? nothing()
    wanted.set(name, keys)
    if (parsed.kind === 'invalid') keys.must.add(rejected)
    // What is sent to a batch after its cancellation is refused: over HTTP at once, on the queue as a failed job.
    else if (cancelledBatches.has(name) && messageId === '') keys.optional.push(own)
    else if (!poisoned.has(messageId) && !cancelledBatches.has(name)) keys.must.add(own)
    else keys.oneOf.push([own, rejected])
  }
  return wanted
}

const poolName = 'pool'

/** Schemas cost time: one for all runs. */
const parse = submissionParser({
  decodeBase64,
  pools: [{ pool: poolName, profile: profileOfDeployment('gpt-image-1'), names: [] }],
})

function wholeSecondsFrom(now: number, at: number): number {
  return now + Math.max(0, Math.floor((at - now) / 1_000)) * 1_000
}

function nameOf({ batch, key }: JobRef): string {
  return `${batch}/${key}`
}
