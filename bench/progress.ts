import { SingleBar } from 'cli-progress'
import { Writable } from 'node:stream'

/** How much of the work is done, or undefined where it is not known yet. */
type Read = () => Promise<number>

/** A wait that takes longer than this has hung. */
export type Wait = {
  readonly what: string
  readonly total: number
  readonly everyMs: number
  readonly limitMs: number
  /** Another wait is shown meanwhile. */
  readonly isSilent?: boolean
}

/**
 * Asks `read` again and again, and shows its answer as a bar, until it reaches `total`. Resolves with the time at which
 * that was seen. Throws at the limit.
 */
export async function untilDone(wait: Wait, read: Read): Promise<number> {
  const { what, total, everyMs, limitMs, isSilent = false } = wait
  const bar = new SingleBar({
    format: `${what}: {bar} {value} of {total}, {duration_formatted}`,
    barsize: 24,
    hideCursor: true,
    noTTYOutput: true,
    notTTYSchedule: 30_000,
    stream: isSilent ? nowhere() : process.stderr,
  })
  bar.start(total, 0)
  const endsAt = performance.now() + limitMs
  try {
    for (;;) {
      const done = await read()
      const now = performance.now()
      bar.update(Math.min(done, total))
      if (done >= total) return now
      if (now > endsAt) throw new Error(`${what}: ${done} of ${total} after ${Math.round(limitMs / 1_000)} s`)
      await pause(everyMs)
    }
  } finally {
    bar.stop()
  }
}

function nowhere(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() })
}

export async function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
