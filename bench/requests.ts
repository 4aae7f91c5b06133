import { windowLimit } from '../src/local/deployment/windows.ts'

/** A request in the log of the simulated deployment. */
export type LoggedRequest = {
  readonly receivedAt: number
  readonly status: number | string
  readonly prompt: string | null
  readonly outcome: string
}

export type Measured = {
  /** Prompts that have their picture. */
  readonly finished: number
  readonly throttled: number
  /** Starts that the deployment accepted over those that its limit allows in the same time; 1 is all of it. */
  readonly utilisation: number
  readonly minutes: number
  /** Requests in the fullest 10 s, the rejected ones included, and how many may be. */
  readonly mostIn10s: number
  readonly limitIn10s: number
  /** Requests beyond one a prompt that the deployment worked on: paid, or possibly paid. */
  readonly repeated: number
  /** Requests sent again because the one before was refused by the rate. */
  readonly sentAgain: number
}

export function measure(log: readonly LoggedRequest[], rpm: number): Measured {
  const accepted = log.filter(({ status }) => status !== 429)
  const times = accepted.map(({ receivedAt }) => receivedAt).sort((a, b) => a - b)
  const spanMs = (times.at(-1) ?? 0) - (times[0] ?? 0)
  // The prompt of a request still under way is not in the log yet.
  const known = log.filter(({ prompt }) => prompt !== null)
  const worked = known.filter(({ status }) => status !== 429)
  const repeated = worked.length - new Set(worked.map(({ prompt }) => prompt)).size
  const prompts = new Set(known.map(({ prompt }) => prompt)).size
  return {
    finished: finished(log),
    throttled: log.length - accepted.length,
    utilisation: spanMs > 0 ? (times.length - 1) / ((spanMs * rpm) / 60_000) : 0,
    minutes: minutesOf(log),
    mostIn10s: mostIn(log, 10_000),
    limitIn10s: windowLimit(rpm, 10_000),
    repeated,
    sentAgain: known.length - prompts - repeated,
  }
}

export function finished(log: readonly LoggedRequest[]): number {
  const done = log.filter(({ outcome }) => outcome === 'succeeded')
  return new Set(done.map(({ prompt }) => prompt)).size
}

function minutesOf(log: readonly LoggedRequest[]): number {
  const times = log.map(({ receivedAt }) => receivedAt).sort((a, b) => a - b)
  return ((times.at(-1) ?? 0) - (times[0] ?? 0)) / 60_000
}

function mostIn(log: readonly LoggedRequest[], windowMs: number): number {
  const times = log.map(({ receivedAt }) => receivedAt).sort((a, b) => a - b)
  let first = 0
  let most = 0
  for (const [last, time] of times.entries()) {
    while ((times[first] ?? time) <= time - windowMs) first += 1
    most = Math.max(most, last - first + 1)
  }
  return most
}
