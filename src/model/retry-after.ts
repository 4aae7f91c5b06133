import { readRetryAfterMs } from '../core/retry-after.ts'

/**
 * The wait a 429 asks for: `retry-after-ms`, `retry-after` (seconds or a date), or the seconds in the body's text, which
 * is all that image deployments were seen to send. Null when it asks for none.
 */
export function retryAfterMs(headers: Headers | undefined, message: string, now: number): number | null {
  const millis = Number(headers?.get('retry-after-ms') ?? Number.NaN)
  if (Number.isFinite(millis) && millis >= 0) return millis
  const asked = readRetryAfterMs(headers?.get('retry-after') ?? '', now)
  if (asked !== null) return asked
  const text =
    /(?:retry|try again)\s+(?:after|in)\s+(\d+(?:\.\d+)?)\s*(ms|milliseconds?|m|min|minutes?|s|sec|seconds?)?\b/i.exec(
      message,
    )
  if (text?.[1] === undefined) return null
  return Number(text[1]) * unitMs(text[2]?.toLowerCase() ?? 's')
}

function unitMs(unit: string): number {
  if (unit === 'ms' || unit.startsWith('milli')) return 1
  return unit.startsWith('m') ? 60_000 : 1_000
}
