import { type Context } from '../../src/pipeline/context.ts'
import type { Chance, Clock } from '../../src/ports/clock.ts'
import type { ImageModel } from '../../src/ports/model.ts'
import type { ImageStore } from '../../src/ports/images.ts'
import type { Messages } from '../../src/ports/messages.ts'
import type { Log } from '../../src/ports/log.ts'
import { newCaches } from '../../src/pipeline/caches.ts'
import { newCapacity } from '../../src/pipeline/capacity.ts'
import { tickWatches } from '../../src/pipeline/tick-watch.ts'
import { batchTable } from '../../src/storage/tables/batch-table.ts'
import { batchList } from '../../src/storage/tables/batch-list.ts'
import { budgetTable } from '../../src/storage/tables/budget-table.ts'
import { correctedClock } from '../../src/storage/corrected-clock.ts'
import { fileStore } from '../../src/storage/blobs/files.ts'
import { jobTable } from '../../src/storage/tables/job-table.ts'
import { uploadStore } from '../../src/storage/blobs/uploads.ts'
import type { Table } from '../../src/storage/tables/table.ts'
import { memoryFileContents } from '../support/memory-file-contents.ts'
import { memoryInputs } from '../support/memory-inputs.ts'
import type { MemoryImages } from '../support/memory-images.ts'
import { memoryTable } from '../support/memory-table.ts'
import { memoryWebhooks } from '../support/memory-webhooks.ts'
import type { VirtualClock } from '../support/virtual-clock.ts'
import type { SimulatedDeployment } from './deployment.ts'

/** One instance of the app: its own memory, over stores that all share. */
export type Instance = {
  readonly context: Context
  isAlive(): boolean
  /** Alive, and not asked to stop. */
  isListening(): boolean
  busy(queue: string): number
  /** Counts a function's run; the promise settles only while the instance lives. */
  runs(queue: string, work: Promise<unknown>): Promise<unknown>
  /** Asks it to stop: its functions may go on for a while. */
  stop(): void
  /** From here on nothing that it waits for ever comes. */
  kill(): void
  /** Storage does not hear it until then; half of the time it is heard, but not answered. */
  cutOff(until: number): void
  /** Nothing of it goes on until then. */
  freeze(until: number): void
}

export type InstanceSettings = {
  readonly clock: VirtualClock
  readonly chance: Chance
  readonly stores: {
    readonly jobs: Table
    readonly budget: Table
    readonly images: MemoryImages
    readonly messages: Messages
  }
  readonly deployments: ReadonlyMap<string, SimulatedDeployment>
  readonly settings: Pick<Context, 'parse' | 'pools' | 'attemptsMax' | 'onUnknown' | 'refusalShareMax'>
  /** What its functions host lets it have in hand. */
  readonly jobsAtOnce: number
  /** Its machine's clock's difference from the world's, which is storage's; it corrects that as the product does. */
  readonly skewMs: number
  readonly storageMs: () => number
  /** How often storage fails before, and as often after, it did as it was asked; out of 1. */
  readonly storageFaults: () => number
  /** How far behind a timer goes off. */
  readonly timerLateMs: () => number
  /** It dies in this operation; Infinity for one that lives on. */
  readonly diesAtOperation: number
  readonly onKilled: () => void
  readonly onStored: (requestId: string) => void
}

/** How long a request to storage that is cut off goes unanswered. */
const requestTimeoutMs = 5_000

export function startInstance(world: InstanceSettings): Instance {
  const { clock, chance, stores, deployments, settings, skewMs, timerLateMs } = world
  const stopping = new AbortController()
  const running = new Map<string, number>()
  let operations = 0
  let isAlive = true
  let cutOffUntil = 0
  let frozenUntil = 0

  /** Waits in the instance's own time: a frozen one goes on when it thaws, a dead one never. */
  async function passes(until: number, signal?: AbortSignal): Promise<void> {
    await clock.sleepUntil(until, signal)
    while (clock.now() < frozenUntil) await clock.sleepUntil(frozenUntil)
    if (!isAlive) await never()
  }

  function kill(): void {
    if (!isAlive) return
    isAlive = false
    world.onKilled()
  }

  const machineClock: Clock = {
    now: () => clock.now() + skewMs,
    async sleepUntil(at, signal) {
      if (at > clock.now() + skewMs) await passes(at - skewMs + timerLateMs(), signal)
      else if (!isAlive) await never()
    },
  }
  const log: Log = { event() {} }
  const ownClock = correctedClock(machineClock, log)
  const storageDate = (): number => Math.floor(clock.now() / 1_000) * 1_000

  /**
   * The way to storage and back. An instance that is killed never hears the answer: half of the time what it asked
   * for is done nevertheless.
   */
  async function through<T>(act: () => Promise<T>, actInPart?: () => void): Promise<T> {
    if (!isAlive) return never()
    operations += 1
    const sentAt = machineClock.now()
    if (operations === world.diesAtOperation) kill()
    else await clock.sleepUntil(clock.now() + world.storageMs() / 2)
    if (!isAlive) {
      if (chance() < 0.5) await act()
      else actInPart?.()
      return never()
    }
    const isCutOff = clock.now() < cutOffUntil
    if (chance() < (isCutOff ? 0.5 : world.storageFaults())) {
      await passes(clock.now() + (isCutOff ? requestTimeoutMs : 0))
      throw new Error('simulated: storage did not get the request')
    }
    const result = await act()
    const serverDate = storageDate()
    await passes(clock.now() + (isCutOff ? requestTimeoutMs : world.storageMs() / 2))
    if (isCutOff || chance() < world.storageFaults()) {
      throw new Error('simulated: storage did it, its answer was lost')
    }
    ownClock.heard({ sentAt, receivedAt: machineClock.now(), serverDate })
    return result
  }

  const reach = (table: Table): Table => ({
    get: async (ref) => through(async () => table.get(ref)),
    range: async (query) => through(async () => table.range(query)),
    transact: async (partition, writes) => through(async () => table.transact(partition, writes)),
    remove: async (ref) => through(async () => table.remove(ref)),
  })

  const images: ImageStore = {
    save: async (answer) =>
      through(
        async () => {
          const saved = await stores.images.save(answer)
          world.onStored(answer.facts.requestId ?? '')
          return saved
        },
        () => stores.images.savePart(answer, answer.images.length - 1),
      ),
    find: async (job) => through(async () => stores.images.find(job)),
    read: async (image) => through(async () => stores.images.read(image)),
    open: async (image) => through(async () => stores.images.open(image)),
  }

  const model: ImageModel = {
    async generate({ deployment, request }) {
      if (!isAlive) return never()
      const { call, answer } = await deployments.get(deployment)!.generate(request.prompt, request.n ?? 1)
      await passes(clock.now())
      call.receivedAt = clock.now()
      return answer
    },
  }

  // Before anything else it asks for its tables and queues.
  const startedAt = machineClock.now()
  ownClock.heard({ sentAt: startedAt, receivedAt: startedAt, serverDate: storageDate() })
  /** Messages become visible after a time, not at one. */
  const toWorldTime = (at: number): number => at - (ownClock.now() - clock.now())

  let ids = 0
  const instanceId = chance()
  const newId = (): string => `${instanceId}-${(ids += 1)}`
  const files = { table: memoryTable(), contents: memoryFileContents(), clock: ownClock, newId }
  const jobRows = reach(stores.jobs)
  const context: Context = {
    ...settings,
    capacity: newCapacity(world.jobsAtOnce),
    ticksOf: tickWatches(),
    shareOf: () => 1,
    isTenant: () => false,
    ownerWeight: () => 1,
    poolOfModel: () => undefined,
    clock: ownClock,
    chance,
    instance: String(instanceId),
    newId,
    log,
    jobs: jobTable(jobRows, { chance, newId, clock: ownClock }),
    budgets: budgetTable(reach(stores.budget)),
    batches: batchTable(jobRows),
    batchList: batchList(memoryTable()),
    messages: {
      sendBatchTask: async (task, at) => {
        const visibleAt = toWorldTime(at)
        return through(async () => stores.messages.sendBatchTask(task, visibleAt))
      },
      sendWork: async (message, at) => {
        const visibleAt = toWorldTime(at)
        return through(async () => stores.messages.sendWork(message, visibleAt))
      },
      sendTick: async (message, at) => {
        const visibleAt = toWorldTime(at)
        return through(async () => stores.messages.sendTick(message, visibleAt))
      },
      sendHook: async (message, at) => {
        const visibleAt = toWorldTime(at)
        return through(async () => stores.messages.sendHook(message, visibleAt))
      },
    },
    images,
    files: fileStore(files),
    uploads: uploadStore(files),
    inputs: memoryInputs(),
    fetchInput: async () => ({ kind: 'refused', why: 'is not at a host that this service may ask' }),
    inputFormatsOf: () => [],
    model,
    webhooks: memoryWebhooks(),
    stopping: stopping.signal,
    caches: newCaches(),
    ledgerChanges: new Map(),
  }

  return {
    context,
    isAlive: () => isAlive,
    isListening: () => isAlive && !stopping.signal.aborted,
    busy: (queue) => running.get(queue) ?? 0,
    async runs(queue, work) {
      running.set(queue, (running.get(queue) ?? 0) + 1)
      try {
        return await work
      } finally {
        running.set(queue, (running.get(queue) ?? 0) - 1)
        if (!isAlive) await never()
      }
    },
    stop: () => stopping.abort(),
    kill,
    cutOff: (until) => {
      cutOffUntil = until
    },
    freeze: (until) => {
      frozenUntil = until
    },
  }
}

async function never(): Promise<never> {
  return new Promise(() => {})
}
