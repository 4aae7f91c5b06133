import type { FailureKind } from '../core/jobs/failure.ts'

/** From what the model answered to what it means. Source: reference of the image API, section 5. */

/** Codes of the content filters: the prompt, or its picture, was refused. */
const refusalCodes = new Set([
  'content_policy_violation',
  'contentFilter',
  'content_filter',
  'moderation_blocked',
  'ResponsibleAIPolicyViolation',
])

const kindsOfStatus: Readonly<Record<number, FailureKind>> = {
  400: 'invalid',
  401: 'unavailable',
  403: 'unavailable',
  404: 'unavailable',
  // The service gave up on a call that it had begun, which may be billed.
  408: 'unknown',
  409: 'transient',
  410: 'unavailable',
  413: 'invalid',
  422: 'invalid',
  429: 'throttled',
  431: 'invalid',
}

/** Faults of the way there: nothing was sent, so nothing was paid for; the deployment is out of reach. */
const unsentCodes = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

export function kindOfStatus(status: number, codes: readonly string[]): FailureKind {
  if (status === 400 && codes.some((code) => refusalCodes.has(code))) return 'refused'
  const kind = kindsOfStatus[status]
  if (kind !== undefined) return kind
  if (status >= 500) return 'transient'
  return status >= 400 ? 'invalid' : 'unavailable'
}

/** What a 429 of a busy region says, whatever our rate is. */
const capacityCodes = new Set([
  'EngineOverloaded',
  'NoCapacity',
  'ServiceUnavailable',
  'server_is_overloaded',
])
const capacityText = /high demand|temporarily unable|overloaded|at capacity|no capacity/i

export function causeOfThrottling(codes: readonly string[], message: string): 'rate' | 'capacity' {
  return codes.some((code) => capacityCodes.has(code)) || capacityText.test(message) ? 'capacity' : 'rate'
}

/** A connection that failed without an answer. */
export function kindOfConnectionFault(codes: readonly string[]): FailureKind {
  return codes.some((code) => unsentCodes.has(code)) ? 'unavailable' : 'unknown'
}
