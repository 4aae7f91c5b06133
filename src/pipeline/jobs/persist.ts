import { errorCode } from '../../core/log-event.ts'
import type { Context } from '../context.ts'

/** Waits between tries to keep what was paid for while storage is away, beyond the storage client's own tries. */
const persistDelaysMs = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]

export async function persist<T>(context: Pick<Context, 'clock' | 'log'>, act: () => Promise<T>): Promise<T> {
  for (const delayMs of persistDelaysMs) {
    try {
      return await act()
    } catch (error) {
      context.log.event('result_not_stored', { code: errorCode(error), delayMs })
      await context.clock.sleepUntil(context.clock.now() + delayMs)
    }
  }
  return act()
}
