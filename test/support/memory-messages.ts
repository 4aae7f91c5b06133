import type { BatchTask, Messages, TickMessage, WorkMessage } from '../../src/ports.ts'

export type Sent<T> = { readonly message: T; readonly visibleAt: number }

export type MemoryMessages = Messages & {
  readonly work: Sent<WorkMessage>[]
  readonly ticks: Sent<TickMessage>[]
  readonly batchTasks: Sent<BatchTask>[]
}

/** Keeps what was sent, for tests that deliver by hand. */
export function memoryMessages(): MemoryMessages {
  const work: Sent<WorkMessage>[] = []
  const ticks: Sent<TickMessage>[] = []
  const batchTasks: Sent<BatchTask>[] = []
  return {
    work,
    ticks,
    batchTasks,
    async sendBatchTask(message, visibleAt) {
      batchTasks.push({ message, visibleAt })
    },
    async sendWork(message, visibleAt) {
      work.push({ message, visibleAt })
    },
    async sendTick(message, visibleAt) {
      ticks.push({ message, visibleAt })
    },
  }
}
