import type { Bucket } from '../rates.ts'
import { limits } from '../limits.ts'
import { timing } from '../timing.ts'

/** A deployment that draws on the quota. */
export type Member = {
  readonly deployment: string
  /** Names the settings it was kept under: a corrected key or address closes the breaker at once. */
  readonly settingsMark: string
  readonly breaker: Breaker | null
  /** Calls that came to nothing through a fault of the deployment, by the time of the fault. */
  readonly faultsRecently: readonly Bucket[]
}

/** A stopped deployment: nothing starts but one probe at a time. */
export type Breaker = {
  readonly code: string
  readonly message: string
  readonly openedAt: number
  /** The slot of the probe under way. */
  readonly probeSlotAt: number | null
  readonly nextProbeAt: number
  readonly probes: number
}

/** What a call came to that its deployment is to blame for. `slotAt` tells whose answer it was. */
export type Fault = {
  readonly deployment: string
  readonly slotAt: number
  readonly now: number
  readonly code: string
  readonly message: string
}

export function newMember(settings: Pick<Member, 'deployment' | 'settingsMark'>): Member {
  return { ...settings, breaker: null, faultsRecently: [] }
}

/**
 * Of those that can serve at the same time a stopped one whose probe is due goes first: it would otherwise never be
 * taken back. A quota has one deployment at least.
 */
export function firstReady(members: readonly Member[], from: number): { member: Member; at: number } {
  return members
    .map((member) => ({ member, at: Math.max(from, member.breaker?.nextProbeAt ?? from) }))
    .reduce((first, next) => {
      const isProbe = next.member.breaker !== null && first.member.breaker === null
      return next.at < first.at || (next.at === first.at && isProbe) ? next : first
    })
}

/** A probe that is lost on its way is followed by another one; only an answer makes the intervals grow. */
export function probed(member: Member, slotAt: number): Member {
  const { breaker } = member
  if (breaker === null) return member
  return {
    ...member,
    breaker: { ...breaker, probeSlotAt: slotAt, nextProbeAt: slotAt + timing.probeLostMs },
  }
}

/**
 * The deployment cannot serve (key, address, block, retirement, faults without end): nothing starts on it but probes,
 * at intervals that grow with each that fails.
 */
export function withStop(member: Member, { slotAt, now, code, ...fault }: Fault): Member {
  const message = fault.message.slice(0, limits.breakerMessageCharsMax).toWellFormed()
  const { breaker } = member
  if (breaker === null) {
    const opened = { code, message, openedAt: now, probeSlotAt: null, probes: 0 }
    return { ...member, breaker: { ...opened, nextProbeAt: now + timing.probeFirstMs } }
  }
  // Calls that were under way when it stopped fail as well, and say nothing new.
  if (breaker.probeSlotAt !== slotAt) return member
  const probes = breaker.probes + 1
  const nextProbeAt = now + probeIntervalMs(probes)
  return { ...member, breaker: { ...breaker, code, message, probeSlotAt: null, probes, nextProbeAt } }
}

function probeIntervalMs(probes: number): number {
  return Math.min(timing.probeMaxMs, timing.probeFirstMs * 2 ** Math.min(probes, 10))
}
