import { windowLimit } from '../src/local/deployment/windows.ts'

/** A request in the log of the simulated deployment; times are epoch milliseconds with fractions. */
export type LoggedRequest = {
  readonly receivedAt: number
  readonly answeredAt: number | null
  readonly status: number | string
  readonly prompt: string | null
  readonly outcome: string
  /** Azure may charge for it: the model worked on it, whether or not its answer arrived. */
  readonly billed: boolean
}

export type Measured = {
  readonly throttled: number
  /** Starts that the deployment accepted over those that its limit allows from the first request to the last. */
  readonly utilisation: number
  /** From the first request to the last one's answer. */
  readonly minutes: number
  /** Requests in the fullest 10 s, the rejected ones included, and how many may be. */
  readonly mostIn10s: number
  readonly limitIn10s: number
  readonly paid: number
  /** Paid requests beyond one a prompt. */
  readonly paidTwice: number
}

export function measure(log: readonly LoggedRequest[], rpm: number): Measured {
  const accepted = log.filter(({ status }) => status !== 429)
  const times = startsOf(log)
  const spanMs = (times.at(-1) ?? 0) - (times[0] ?? 0)
  const paid = log.filter(({ billed }) => billed)
  return {
    throttled: log.length - accepted.length,
    utilisation: spanMs > 0 ? (accepted.length - 1) / ((spanMs * rpm) / 60_000) : 0,
    minutes: minutesOf(log),
    mostIn10s: mostIn(log, 10_000),
    limitIn10s: windowLimit(rpm, 10_000),
    paid: paid.length,
    paidTwice: paid.length - new Set(paid.map(({ prompt }) => prompt)).size,
  }
}

/** Prompts that the deployment has answered with a picture. */
export function answered(log: readonly LoggedRequest[]): number {
  const done = log.filter(({ outcome }) => outcome === 'succeeded')
  return new Set(done.map(({ prompt }) => prompt)).size
}

/** When the requests arrived, in order. */
export function startsOf(log: readonly LoggedRequest[]): readonly number[] {
  return log.map(({ receivedAt }) => receivedAt).sort((a, b) => a - b)
}

/** Starts that found the limit already reached within the window before them. */
export function startsAbove(starts: readonly number[], windowMs: number, rpm: number): number {
  const limit = windowLimit(rpm, windowMs)
  return starts.filter((start, index) => {
    const earlier = starts[index - limit]
    return earlier !== undefined && earlier > start - windowMs
  }).length
}

function minutesOf(log: readonly LoggedRequest[]): number {
  const [first = 0] = startsOf(log)
  const last = log.reduce((latest, request) => Math.max(latest, request.answeredAt ?? 0), first)
  return (last - first) / 60_000
}

function mostIn(log: readonly LoggedRequest[], windowMs: number): number {
  const times = startsOf(log)
  let first = 0
  let most = 0
  for (const [last, time] of times.entries()) {
    while ((times[first] ?? time) <= time - windowMs) first += 1
    most = Math.max(most, last - first + 1)
  }
  return most
}
