import * as fc from 'fast-check'
import type { Ledger } from '../../src/core/budget/ledger.ts'
import { newLedger } from '../../src/core/budget/ledger.ts'
import { newJob, type Job, type Phase, type PhaseKind } from '../../src/core/jobs/job.ts'
import { freeSizeProblem } from '../../src/core/requests/profiles.ts'

/** 2026-11-23, 10:00 UTC. */
export const t0 = Date.UTC(2026, 10, 23, 10)

export const usage = { inputTokens: 12, outputTokens: 1_056, inputTextTokens: 12, inputImageTokens: 0 }

export const image = {
  blob: 'inbox-2026-11-23/fox-0.png',
  contentType: 'image/png',
  sizeBytes: 1_234_567,
  width: 1024,
  height: 1024,
  sha256: 'ab'.repeat(32),
}

export const failureOfTest = { kind: 'refused', code: 'moderation_blocked', message: 'no' } as const

const phases: { readonly [Kind in PhaseKind]: Extract<Phase, { kind: Kind }> } = {
  waiting: { kind: 'waiting', dueAt: t0 },
  slotted: { kind: 'slotted', slotAt: t0 + 10_000, isReserved: false },
  running: { kind: 'running', leaseUntil: t0 + 100_000 },
  succeeded: { kind: 'succeeded', finishedAt: t0 + 40_000, images: [image], usage, costMicroUsd: 5_000 },
  failed: { kind: 'failed', finishedAt: t0 + 40_000, failure: failureOfTest },
  cancelled: { kind: 'cancelled', finishedAt: t0 + 40_000 },
}

export const phaseKinds = Object.values(phases).map(({ kind }) => kind)

export function phaseOf(kind: PhaseKind): Phase {
  return phases[kind]
}

/** A job of the given phase, frozen all the way down: a function that changes it in place throws. */
export function jobIn(kind: PhaseKind, fields: Partial<Job> = {}): Job {
  const request = { prompt: 'a fox' }
  const job = newJob({
    batch: 'b',
    key: 'fox',
    pool: 'pool',
    customId: 'fox',
    metadata: null,
    priority: null,
    upperMicroUsd: 10_000,
    now: t0,
    request,
  })
  return frozen({ ...job, phase: phases[kind], ...fields })
}

export function ledgerOf(fields: Partial<Ledger> = {}): Ledger {
  const settings = {
    quota: 'images',
    rpm: 60,
    pace: 0.98,
    deployments: [{ deployment: 'images', settingsMark: 'mark' }],
  }
  return frozen({ ...newLedger(settings, t0), ...fields })
}

export function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(frozen)
    Object.freeze(value)
  }
  return value
}

/** Any size that the rules of gpt-image-2 allow. */
export const freeSize = fc
  .tuple(fc.integer({ min: 30, max: 240 }), fc.integer({ min: 30, max: 240 }))
  .map(([width, height]) => `${width * 16}x${height * 16}`)
  .filter((size) => freeSizeProblem(size) === undefined)
