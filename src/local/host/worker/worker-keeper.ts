import type { HostClock } from '../clock.ts'
import { startWorker, type Worker } from './worker.ts'

/** A worker that is started again whenever it ends. */
export type KeptWorker = Pick<Worker, 'functions' | 'streamUri' | 'invoke' | 'terminate' | 'end'> & {
  /** The one that runs now; waits while one is being started. Throws when none could be. */
  current(): Promise<Worker>
}

/** Workers in a row that could not be started, or ended at once, before the host gives up; and the waits between them. */
const startTriesMax = 3
const startWaitMs = 1_000
const atOnceMs = 5_000

/**
 * Starts the worker, and keeps one running, as the real host does: one that ends is replaced at once, what ran in it has
 * failed; and a function that runs longer than it may takes its worker with it, under all that runs beside it. `onLost` is
 * called when none could be started again. Throws when the first cannot be started.
 */
export async function keepWorker(options: {
  readonly rootDir: string
  readonly functionTimeoutMs: number
  readonly clock: HostClock
  readonly log: (line: string) => void
  readonly warn: (message: string) => void
  readonly onLost: (why: string) => void
}): Promise<KeptWorker> {
  const { rootDir, functionTimeoutMs, clock, log, warn, onLost } = options
  let isEnding = false
  let failures = 0
  const first = await started()
  let current = Promise.resolve(first)
  const last = async (): Promise<Worker | undefined> => current.catch(() => undefined)

  return {
    functions: first.functions,
    streamUri: first.streamUri,
    current: async () => current,
    invoke: async (...invocation) => (await current).invoke(...invocation),
    async terminate() {
      await (await last())?.terminate()
    },
    async end() {
      isEnding = true
      await (await last())?.end()
    },
  }

  async function started(): Promise<Worker> {
    const worker = await startWorker(rootDir, log)
    const startedAt = clock.now()
    void worker.ended.then(() => {
      if (isEnding) return
      failures = clock.now() - startedAt < atOnceMs ? failures + 1 : 0
      warn('the worker ended; another is started')
      current = restarted()
      // Whoever needs it meets the fault; nobody may.
      current.catch((error: unknown) => {
        if (!isEnding) onLost(`the worker could not be started again (${String(error)})`)
      })
    })
    return { ...worker, invoke: async (...invocation) => inTime(worker, invocation) }
  }

  async function restarted(): Promise<Worker> {
    for (;;) {
      if (isEnding || failures >= startTriesMax) throw new Error(`${failures} in a row ended at once`)
      if (failures > 0) await clock.pause(startWaitMs * failures)
      try {
        return await started()
      } catch (error) {
        failures += 1
        if (failures >= startTriesMax) throw error
      }
    }
  }

  async function inTime(
    worker: Worker,
    invocation: Parameters<Worker['invoke']>,
  ): ReturnType<Worker['invoke']> {
    const over = new AbortController()
    void clock.pause(functionTimeoutMs, over.signal).then(async () => {
      if (over.signal.aborted) return
      warn(`${invocation[0]} ran for longer than functionTimeout allows; the worker is started again`)
      await worker.end()
    })
    return worker.invoke(...invocation).finally(() => over.abort())
  }
}
