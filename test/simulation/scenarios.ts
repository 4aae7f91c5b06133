import { chanceFrom } from '../../src/local/deployment/chance.ts'
import { priorities } from '../../src/core/requests/submission.ts'
import type { Chance } from '../../src/ports/clock.ts'
import { costs } from '../support/context.ts'
import type { ModelFaults } from './deployment.ts'
import { withRetries } from './retries.ts'
import type { Action, Scenario, Submission } from './world.ts'

export const noModelFaults: ModelFaults = { rates: {}, spells: [], quota: [], neighbours: [] }

/** A world in which nothing fails; what comes late is said by the test. */
export function fairWeather(
  seed: string,
  scenario: Pick<Scenario, 'rpm' | 'instances' | 'submissions'> & Partial<Scenario>,
): Scenario {
  const chance = chanceFrom('fair weather', seed)
  return {
    chance,
    deployments: 1,
    isOneQuota: false,
    actions: [],
    onUnknown: 'retry',
    attemptsMax: 4,
    wakeDelayMs: () => chance() * 2_000,
    callMs: () => 10_000 + chance() * 20_000,
    storageMs: () => 3 + chance() * 10,
    timerLateMs: () => chance() * 5,
    skewMs: () => 0,
    atOnce: 96,
    modelFaults: noModelFaults,
    chaos: { untilMs: 0, storageFaults: 0, duplicates: 0, diesAtOperation: () => Infinity, accidents: [] },
    checksEveryStep: false,
    ...scenario,
  }
}

/** Prompts for one batch, all at once. */
export function batchOf(batch: string, count: number, afterMs = 0): Submission[] {
  return Array.from({ length: count }, (_, index) => ({
    afterMs,
    via: 'queue' as const,
    text: JSON.stringify({ batch, custom_id: `line-${index}`, prompt: `${batch}, line ${index}` }),
  }))
}

/** A small world in which everything goes wrong, all of it drawn from the seed. */
export function foulWeather(seed: number): Scenario {
  return withRetries(withoutRetries(seed), chanceFrom('retries', seed))
}

/** As it was before owners asked for failed jobs again: what a seed of then led to, it leads to still. */
export function withoutRetries(seed: number): Scenario {
  const chance = chanceFrom('foul weather', seed)
  const rpm = pick(chance, [6, 9, 60, 600])
  const untilMs = 60_000 + chance() * 540_000
  const spell = (): { from: number; until: number } => {
    const from = startOf(chance, untilMs)
    return { from, until: from + 5_000 + chance() * 90_000 }
  }
  return {
    chance,
    rpm,
    deployments: chance() < 0.35 ? 2 : 1,
    isOneQuota: chance() < 0.5,
    instances: 1 + Math.floor(chance() * 3),
    submissions: submissions(chance),
    actions: actions(chance, untilMs),
    onUnknown: chance() < 0.75 ? 'retry' : 'fail',
    attemptsMax: 4,
    wakeDelayMs: pick(chance, [
      () => chance() * 2_000,
      () => chance() * 5_000,
      () => (chance() < 0.1 ? chance() * 30_000 : chance() * 1_000),
    ]),
    callMs: pick(chance, [() => 2_000 + chance() * 10_000, () => 10_000 + chance() * 100_000]),
    storageMs: pick(chance, [() => 2 + chance() * 10, () => 2 + chance() ** 8 * 2_000]),
    timerLateMs: pick(chance, [() => chance() * 10, () => (chance() < 0.02 ? chance() * 1_000 : 0)]),
    skewMs: () => (chance() - 0.5) * 40,
    atOnce: pick(chance, [3, 16, 96]),
    modelFaults: {
      rates: {
        transient: chance() * 0.1,
        refused: chance() * 0.05,
        invalid: chance() * 0.03,
        dropped: chance() * 0.06,
        capacity: chance() < 0.3 ? chance() * 0.1 : 0,
      },
      spells: [
        ...(chance() < 0.3 ? [{ ...spell(), kind: 'unavailable' as const }] : []),
        ...(chance() < 0.3 ? [{ ...spell(), kind: 'transient' as const }] : []),
      ],
      quota: chance() < 0.2 ? [{ from: startOf(chance, untilMs), rpm: rpm * (0.4 + chance()) }] : [],
      neighbours: chance() < 0.2 ? [{ ...spell(), rpm: rpm * (0.3 + chance()) }] : [],
    },
    chaos: {
      untilMs,
      storageFaults: pick(chance, [0, 0.005, 0.03]),
      duplicates: pick(chance, [0, 0.1]),
      diesAtOperation: () => (chance() < 0.6 ? Math.ceil(chance() ** 2 * 400) : Infinity),
      accidents: Array.from({ length: Math.floor(chance() * 6) }, () => ({
        afterMs: chance() * untilMs,
        kind: pick(chance, ['kill', 'stop', 'cut-off', 'freeze']),
        forMs: 5_000 + chance() ** 2 * 250_000,
      })),
    },
    checksEveryStep: true,
  }
}

function startOf(chance: Chance, untilMs: number): number {
  return Date.UTC(2026, 0, 5, 12) + chance() * untilMs
}

function submissions(chance: Chance): Submission[] {
  const count = 15 + Math.floor(chance() * 20)
  const batches = ['batch-a', 'batch-b', 'batch-c', undefined].slice(0, 2 + Math.floor(chance() * 3))
  const all: Submission[] = []
  for (let index = 0; index < count; index += 1) {
    const batch = pick(chance, batches)
    const afterMs = chance() < 0.5 ? chance() * 1_000 : chance() * 90_000
    const via = chance() < 0.25 ? 'http' : 'queue'
    const customId = via === 'http' || chance() < 0.8 ? { custom_id: `job-${index}` } : {}
    const prompt = `prompt ${index}`
    const isValid = via === 'http' || chance() < 0.95
    const n = 1 + Math.floor(chance() * 3)
    const priority = chance() < 0.2 ? pick(chance, priorities) : undefined
    const text = JSON.stringify({ batch, ...customId, prompt, priority, n: isValid ? n : -1 })
    all.push({ afterMs, via, text })
    // A producer that sends twice what has a name.
    if (isValid && via === 'queue' && 'custom_id' in customId && chance() < 0.1) {
      all.push({ afterMs: chance() * 120_000, via, text })
    }
  }
  return all
}

/** What owners do meanwhile; in the end every batch may go on, or is cancelled. */
function actions(chance: Chance, untilMs: number): Action[] {
  const all: Action[] = []
  if (chance() < 0.4) {
    const batch = 'batch-a'
    // Some images' worth at the most, then more of it, then no end; less than one image's worth is refused.
    const capMicroUsd = Math.max(costs.leastMicroUsd, Math.ceil(chance() * 200_000))
    const raisedMs = chance() * untilMs
    all.push({ afterMs: 0, batch, kind: 'change', capMicroUsd })
    all.push({ afterMs: raisedMs, batch, kind: 'change', capMicroUsd: capMicroUsd + 100_000 })
    if (chance() < 0.5) {
      all.push({
        afterMs: raisedMs + chance() * 60_000,
        batch,
        kind: 'change',
        capMicroUsd: Math.max(costs.leastMicroUsd, Math.ceil(capMicroUsd / 2)),
      })
    }
    // Twice: a request on an instance that was frozen may be carried out long after it was asked again elsewhere.
    all.push({ afterMs: untilMs + 60_000, batch, kind: 'change', capMicroUsd: null })
    all.push({ afterMs: untilMs + 400_000, batch, kind: 'change', capMicroUsd: null })
  }
  if (chance() < 0.3) {
    const pausedMs = 5_000 + chance() * 60_000
    all.push({ afterMs: pausedMs, batch: 'batch-b', kind: 'pause' })
    all.push({ afterMs: pausedMs + chance() * 120_000, batch: 'batch-b', kind: 'resume' })
  }
  if (chance() < 0.3) all.push({ afterMs: 5_000 + chance() * 120_000, batch: 'batch-b', kind: 'cancel' })
  if (chance() < 0.5) {
    const priority = pick(chance, priorities)
    all.push({ afterMs: chance() * 60_000, batch: 'batch-a', kind: 'change', priority })
  }
  // Refusals may have paused any of them, and nobody else would let them go on.
  for (let afterMs = untilMs + 60_000; afterMs < untilMs + 600_000; afterMs += 60_000) {
    all.push({ afterMs, batch: pick(chance, ['batch-a', 'batch-b', 'batch-c']), kind: 'resume' })
  }
  return all
}

function pick<T>(chance: Chance, choices: readonly T[]): T {
  return choices[Math.floor(chance() * choices.length)]!
}
