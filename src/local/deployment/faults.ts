import type { Chance } from './chance.ts'

/** Everything that can go wrong on purpose; a marker in the prompt calls each by this name. */
export const faults = [
  'moderation_blocked',
  'content_policy_violation',
  'contentFilter',
  'contentFilterOutput',
  '401',
  '403',
  '404',
  '408',
  '500',
  '503',
  'capacity',
  'dropped',
  'truncated',
  'short',
  'garbage',
] as const

export type Fault = (typeof faults)[number]

/** The faults that can also be given a rate, by the name of the setting. */
export const ratedFaults = [
  ['moderationBlocked', 'moderation_blocked'],
  ['contentPolicyViolation', 'content_policy_violation'],
  ['contentFilter', 'contentFilter'],
  ['contentFilterOutput', 'contentFilterOutput'],
  ['timeout408', '408'],
  ['serverError', '500'],
  ['unavailable', '503'],
  ['capacity', 'capacity'],
  ['dropped', 'dropped'],
  ['truncated', 'truncated'],
  ['short', 'short'],
  ['garbage', 'garbage'],
] as const satisfies readonly (readonly [string, Fault])[]

/** How often each fault happens by itself, 0 to 1. They exclude each other, so the sum is at most 1. */
type FaultRates = { readonly [name in (typeof ratedFaults)[number][0]]?: number | undefined }

export type Plan =
  | { readonly kind: 'plan'; readonly fault: Fault | undefined; readonly slowMs: number | undefined }
  | { readonly kind: 'unknown-marker'; readonly marker: string }

/**
 * What becomes of a request: what the markers in its prompt say, else what chance says.
 *
 * A marker is `[fault:NAME]` or `[fault:slow:SECONDS]`, with `:xN` at its end to act on N requests only. Markers act
 * in turn: `[fault:500:x2][fault:dropped:x1]` fails twice, loses the third answer, then works. `earlier` is how many
 * requests with this prompt were let in before.
 */
export function planFault(request: {
  readonly prompt: string
  readonly earlier: number
  readonly rates: FaultRates
  readonly chance: Chance
}): Plan {
  const markers = readMarkers(request.prompt)
  const unknown = markers.find((marker) => marker.fault === undefined && marker.slowMs === undefined)
  if (unknown !== undefined) return { kind: 'unknown-marker', marker: unknown.text }
  const slow = markers.filter((marker) => marker.slowMs !== undefined)
  const rest = markers.filter((marker) => marker.fault !== undefined)
  return {
    kind: 'plan',
    slowMs: inTurn(slow, request.earlier)?.slowMs,
    fault:
      rest.length > 0 ? inTurn(rest, request.earlier)?.fault : faultByChance(request.rates, request.chance()),
  }
}

/** The prompt as a person would read it. */
export function withoutMarkers(prompt: string): string {
  return prompt.replaceAll(markerPattern, '').replaceAll(/\s+/g, ' ').trim()
}

type Marker = {
  readonly text: string
  readonly times: number
  readonly fault: Fault | undefined
  readonly slowMs: number | undefined
}

const markerPattern = /\[fault:([^\]]*)\]/g
// A longer wait than any client's time-out shows nothing more, and setTimeout ends at 24 days.
const maxSlowSeconds = 3_600

function readMarkers(prompt: string): readonly Marker[] {
  return [...prompt.matchAll(markerPattern)].map(([text, inner = '']) => {
    const [, name = '', seconds, times] = /^(\w+?)(?::(\d+(?:\.\d+)?))?(?::x(\d+))?$/.exec(inner) ?? []
    const isSlow = name === 'slow' && seconds !== undefined && Number(seconds) <= maxSlowSeconds
    return {
      text,
      times: times === undefined ? Infinity : Number(times),
      fault: seconds === undefined ? faults.find((fault) => fault === name) : undefined,
      slowMs: isSlow ? Number(seconds) * 1_000 : undefined,
    }
  })
}

function inTurn(markers: readonly Marker[], earlier: number): Marker | undefined {
  let usedUp = 0
  for (const marker of markers) {
    usedUp += marker.times
    if (earlier < usedUp) return marker
  }
  return undefined
}

function faultByChance(rates: FaultRates, drawn: number): Fault | undefined {
  let passed = 0
  for (const [name, fault] of ratedFaults) {
    passed += rates[name] ?? 0
    if (drawn < passed) return fault
  }
  return undefined
}
