import type { HostClock } from './clock.ts'
import { startWorker, type Worker } from './worker.ts'

/** A worker that is started again whenever it ends. */
export type KeptWorker = Pick<Worker, 'functions' | 'invoke' | 'terminate' | 'end'> & {
  /** The one that runs now; waits while one is being started. */
  current(): Promise<Worker>
}

/** Starts, one after the other, that may fail before the host gives up. */
const startTriesMax = 3

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
  const first = await startWorker(rootDir, log)
  let current = Promise.resolve(first)
  watch(first)

  return {
    functions: first.functions,
    current: async () => current,
    async invoke(functionName, input) {
      const worker = await current
      const settled = worker.invoke(functionName, input)
      const over = new AbortController()
      void clock.pause(functionTimeoutMs, over.signal).then(async () => {
        if (over.signal.aborted) return
        warn(`${functionName} ran for longer than functionTimeout allows; the worker is started again`)
        await worker.end()
      })
      return settled.finally(() => over.abort())
    },
    async terminate() {
      await (await current).terminate()
    },
    async end() {
      isEnding = true
      await (await current.catch(() => undefined))?.end()
    },
  }

  function watch(worker: Worker): void {
    void worker.ended.then(() => {
      if (isEnding) return
      warn('the worker ended; another is started')
      current = restarted()
      // Whoever needs it meets the fault; nobody may.
      current.catch((error: unknown) => onLost(`the worker could not be started again (${String(error)})`))
    })
  }

  async function restarted(): Promise<Worker> {
    for (let tries = 1; ; tries += 1) {
      try {
        const worker = await startWorker(rootDir, log)
        watch(worker)
        return worker
      } catch (error) {
        if (isEnding || tries === startTriesMax) throw error
      }
    }
  }
}
