import type { LoggedReply } from './service.ts'

export type ReceivedRequest = {
  /** When the headers had come: epoch milliseconds with fractions, on a clock that never goes back. */
  readonly receivedAt: number
  readonly answeredAt: number | null
  /** Whom it was for; null where there is no such deployment. */
  readonly deployment: string | null
  /** The status sent; `dropped` when the connection ended without an answer, by fault or because the caller left. */
  readonly status: number | 'dropped' | 'pending'
  /** The code in the error's body. */
  readonly code: string | null
  readonly prompt: string | null
  /** What became of it: `succeeded`, `throttled`, `invalid`, `abandoned` (the caller left), or the fault's name. */
  readonly outcome: string
  /** Whether Azure may charge for it: all on which the model worked, also blocked, timed out and lost ones. */
  readonly billed: boolean
  readonly requestId: string
  /** How many pictures were in the answer. */
  readonly images: number
  /** Of each of them, over its bytes. */
  readonly sha256: readonly string[]
  /** Of each picture that it came with, the mask last. */
  readonly inputSha256: readonly string[]
  /** The `usage.total_tokens` of the answer; 0 without one. */
  readonly totalTokens: number
}

type RequestLog = {
  open(arrival: Pick<ReceivedRequest, 'receivedAt' | 'requestId' | 'deployment'>): {
    close(end: LoggedReply & { readonly isGone: boolean; readonly answeredAt: number }): void
  }
  entries(): readonly ReceivedRequest[]
}

// A day at 90 requests a minute is 130,000; the oldest go first.
const maxEntries = 200_000

export function createLog(): RequestLog {
  const entries = new Map<string, ReceivedRequest>()

  return {
    open(arrival) {
      const { requestId } = arrival
      const [oldest] = entries.size >= maxEntries ? entries.keys() : []
      if (oldest !== undefined) entries.delete(oldest)
      const opened = { ...blank, ...arrival }
      entries.set(requestId, opened)
      return {
        close(end) {
          if (entries.has(requestId)) entries.set(requestId, { ...opened, ...closed(end) })
        },
      }
    },
    entries: () => [...entries.values()],
  }
}

const blank = {
  answeredAt: null,
  status: 'pending',
  code: null,
  prompt: null,
  outcome: 'pending',
  billed: false,
  images: 0,
  sha256: [],
  inputSha256: [],
  totalTokens: 0,
} as const

function closed(
  end: LoggedReply & { readonly isGone: boolean; readonly answeredAt: number },
): Partial<ReceivedRequest> {
  const { answeredAt, prompt, billed, inputSha256 } = end
  const common = { answeredAt, prompt, billed, inputSha256 }
  if (end.isGone) return { ...common, status: 'dropped', outcome: 'abandoned' }
  if (end.kind === 'dropped') return { ...common, status: 'dropped', outcome: 'dropped' }
  if (end.kind === 'truncated') return { ...common, status: 200, outcome: 'truncated' }
  if (end.kind === 'error') {
    const { status, outcome, error } = end.answer
    return { ...common, status, outcome, code: error.code }
  }
  const { outcome, sha256, totalTokens } = end
  return { ...common, status: 200, outcome, images: sha256.length, sha256, totalTokens }
}
