import { limits } from '../core/limits.ts'

/** What one try answers when somebody else was there first. */
export const overtaken = Symbol('overtaken')

/**
 * Changes what others change as well: each try reads it as it is now, and writes only if it is still so. `what` names it
 * for whoever reads the error; `attempt` gets the number of tries before it. Throws `TooManyWriters` after `triesMax`.
 */
export async function compareAndSet<T>(
  what: string,
  attempt: (tries: number) => Promise<T | typeof overtaken>,
  triesMax: number = limits.commitTriesMax,
): Promise<T> {
  for (let tries = 0; tries < triesMax; tries += 1) {
    const result = await attempt(tries)
    if (result !== overtaken) return result
  }
  throw new TooManyWriters(`${what}: no change came through in ${triesMax} tries; too many writers`)
}

export class TooManyWriters extends Error {
  override readonly name = 'TooManyWriters'
}
