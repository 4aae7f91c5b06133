import type { BatchTask, HookMessage, Messages, TickMessage, WorkMessage } from '../../src/ports/messages.ts'

export type Sent<T> = { readonly message: T; readonly visibleAt: number }

export type MemoryMessages = Messages & {
  readonly work: Sent<WorkMessage>[]
  readonly ticks: Sent<TickMessage>[]
  readonly batchTasks: Sent<BatchTask>[]
  readonly hooks: Sent<HookMessage>[]
}

/** Keeps what was sent, for tests that deliver by hand. */
export function memoryMessages(): MemoryMessages {
  const work: Sent<WorkMessage>[] = []
  const ticks: Sent<TickMessage>[] = []
  const batchTasks: Sent<BatchTask>[] = []
  const hooks: Sent<HookMessage>[] = []
  return {
    work,
    ticks,
    batchTasks,
    hooks,
    async sendBatchTask(message, visibleAt) {
      batchTasks.push({ message, visibleAt })
    },
    async sendWork(message, visibleAt) {
      work.push({ message, visibleAt })
    },
    async sendTick(message, visibleAt) {
      ticks.push({ message, visibleAt })
    },
    async sendHook(message, visibleAt) {
      hooks.push({ message, visibleAt })
    },
  }
}
