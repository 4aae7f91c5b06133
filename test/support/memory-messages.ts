import type { Messages, TickMessage, WorkMessage } from '../../src/ports.ts'

export type Sent<T> = { readonly message: T; readonly visibleAt: number }

export type MemoryMessages = Messages & {
  readonly work: Sent<WorkMessage>[]
  readonly ticks: Sent<TickMessage>[]
}

/** Keeps what was sent, for tests that deliver by hand. */
export function memoryMessages(): MemoryMessages {
  const work: Sent<WorkMessage>[] = []
  const ticks: Sent<TickMessage>[] = []
  return {
    work,
    ticks,
    async sendWork(message, visibleAt) {
      work.push({ message, visibleAt })
    },
    async sendTick(message, visibleAt) {
      ticks.push({ message, visibleAt })
    },
  }
}
