import { hash } from 'node:crypto'
import type { FailureKind } from '../../src/core/jobs/failure.ts'
import type { Usage } from '../../src/core/jobs/job.ts'
import { createRateWindows, type RateRule } from '../../src/local/deployment/windows.ts'
import type { Chance } from '../../src/ports/clock.ts'
import type { ModelAnswer } from '../../src/ports/model.ts'
import { fails, pictures } from '../support/scripted-model.ts'
import type { VirtualClock } from '../support/virtual-clock.ts'

export type ModelFaults = {
  /** How often a call ends in each of these, out of 1. `dropped` has been served, and its answer is lost. */
  readonly rates: Readonly<
    Partial<Record<'transient' | 'refused' | 'invalid' | 'dropped' | 'capacity', number>>
  >
  /** Times at which every call ends in the same failure. */
  readonly spells: readonly { readonly from: number; readonly until: number; readonly kind: FailureKind }[]
  /** What the deployment really allows, as it changes; it allows what the settings say until the first of them. */
  readonly quota: readonly { readonly from: number; readonly rpm: number }[]
  /** Times at which another client uses its share of the quota, in requests a minute. */
  readonly neighbours: readonly { readonly from: number; readonly until: number; readonly rpm: number }[]
}

/** One request as the deployment saw it. */
export type Call = {
  readonly id: string
  readonly deployment: string
  readonly prompt: string
  readonly startedAt: number
  endedAt: number | undefined
  readonly outcome: 'images' | 'dropped' | 'error' | 'throttled'
  readonly usage: Usage
  readonly sha256: readonly string[]
  /** What became of its answer at the instance that called. */
  receivedAt: number | undefined
  storedAt: number | undefined
}

export type SimulatedDeployment = {
  readonly calls: Call[]
  generate(prompt: string, images: number): Promise<{ readonly call: Call; readonly answer: ModelAnswer }>
}

/** An image deployment that judges every request it gets over windows of 10 s and 60 s, as Azure does. */
export function simulatedDeployment(
  name: string,
  world: { clock: VirtualClock; chance: Chance; rpm: number; callMs: () => number; faults: ModelFaults },
): SimulatedDeployment {
  const { clock, chance, rpm, callMs, faults } = world
  const windows = createRateWindows()
  const ruleNow = (): RateRule => ({
    rpm: faults.quota.findLast(({ from }) => from <= clock.now())?.rpm ?? rpm,
    windowsMs: [10_000, 60_000],
    countRejected: true,
  })
  const calls: Call[] = []

  for (const neighbour of faults.neighbours) {
    const useQuota = (): void => {
      windows.arrive({ arrivedAt: clock.now(), rule: ruleNow() })
      const next = clock.now() + 60_000 / neighbour.rpm
      if (next < neighbour.until) clock.at(next, useQuota)
    }
    clock.at(neighbour.from, useQuota)
  }

  function fate(): { readonly outcome: Call['outcome']; readonly answer: ModelAnswer | undefined } {
    const now = clock.now()
    const judged = windows.arrive({ arrivedAt: now, rule: ruleNow() })
    if (judged.kind === 'throttled') {
      // In whole seconds, as Azure writes it.
      const retryAfterMs = Math.max(1_000, Math.ceil(judged.retryAfterMs / 1_000) * 1_000)
      return { outcome: 'throttled', answer: fails('throttled', { code: 'RateLimitReached', retryAfterMs }) }
    }
    const spell = faults.spells.find(({ from, until }) => from <= now && now < until)
    if (spell !== undefined) return { outcome: 'error', answer: fails(spell.kind) }
    let drawn = chance()
    for (const [kind, rate] of Object.entries(faults.rates)) {
      drawn -= rate
      if (drawn >= 0) continue
      if (kind === 'dropped') return { outcome: 'dropped', answer: fails('unknown', { code: 'ECONNRESET' }) }
      if (kind === 'capacity') {
        return {
          outcome: 'error',
          answer: fails('throttled', { code: 'EngineOverloaded', cause: 'capacity', retryAfterMs: 5_000 }),
        }
      }
      if (kind === 'transient' || kind === 'refused' || kind === 'invalid') {
        return { outcome: 'error', answer: fails(kind) }
      }
    }
    return { outcome: 'images', answer: undefined }
  }

  return {
    calls,
    async generate(prompt, images) {
      const id = `${name}-${calls.length + 1}`
      const { outcome, answer = pictures(images, id, 1_000 + calls.length) } = fate()
      const call: Call = {
        id,
        deployment: name,
        prompt,
        startedAt: clock.now(),
        endedAt: undefined,
        outcome,
        usage:
          answer.kind === 'images'
            ? answer.usage
            : { inputTokens: 0, outputTokens: 0, inputTextTokens: 0, inputImageTokens: 0 },
        sha256: answer.kind === 'images' ? answer.images.map(({ bytes }) => hash('sha256', bytes)) : [],
        receivedAt: undefined,
        storedAt: undefined,
      }
      calls.push(call)
      await clock.sleepUntil(
        call.startedAt + (outcome === 'throttled' || outcome === 'error' ? 200 : callMs()),
      )
      call.endedAt = clock.now()
      return { call, answer }
    },
  }
}
