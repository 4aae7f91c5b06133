import { limits } from '../../../src/core/limits.ts'
import { timing } from '../../../src/core/timing.ts'
import { chanceFrom } from '../../../src/local/deployment/chance.ts'
import { batchOf, fairWeather } from '../scenarios.ts'
import { simulate, startAt } from '../world.ts'
import { platform, type PlatformSettings } from './platform.ts'
import type { ScaleReport } from './scale-controller.ts'

export type Case = {
  readonly rpm: number
  readonly callMs: number
  readonly sampleMs: number
  readonly coldMs: number
  readonly minutes: number
}

/** What is done about instances that are taken away. */
export type Remedy = Omit<PlatformSettings, 'sampleMs' | 'coldMs'> & {
  /** Nothing is visible earlier than the lead asks, and no tick looks further ahead. */
  readonly isNothingEarlier?: boolean
}

export type Finding = {
  /** Starts a minute, as a share of the limit, once a minute has passed: the first wake of all is cold in any case. */
  readonly used: number
  readonly work: ScaleReport
  readonly pacer: ScaleReport
  /** The quota's, every ten seconds. */
  readonly leadsMs: readonly number[]
  /** How far ahead of its slot a job got it, nine in ten: so long a job of higher priority waits for its own. */
  readonly aheadMs: number
}

const learningMs = 60_000

/** One pool with more work than its pace allows, its two functions on instances that the platform starts and takes away. */
export async function study(asked: Case, remedy: Remedy = {}, seed = ''): Promise<Finding> {
  const { rpm, callMs, sampleMs, coldMs, minutes } = asked
  const chance = chanceFrom('platform', rpm, callMs, sampleMs, coldMs, seed)
  const leadsMs: number[] = []
  const place = platform(chance, { ...remedy, sampleMs, coldMs })
  const scenario = fairWeather(`platform ${seed}`, {
    rpm,
    instances: 1,
    submissions: batchOf('big', rpm * minutes),
    endsAfterMs: minutes * 60_000,
    callMs: () => callMs * (0.9 + chance() * 0.2),
    host: place.host,
    watch: {
      everyMs: 10_000,
      look: async ({ budgets }) => {
        const ledger = await budgets.readLedger({ pool: 'pool', quota: 'quota-0' })
        if (ledger !== undefined) leadsMs.push(ledger.value.leadMs)
      },
    },
  })
  const run = await (remedy.isNothingEarlier === true
    ? withNothingEarlier(async () => simulate(scenario))
    : simulate(scenario))
  const starts = run.calls.filter(({ startedAt }) => startedAt >= startAt + learningMs).length
  const aheadMs = [...place.aheadMs].sort((a, b) => a - b)
  return {
    used: starts / (minutes - learningMs / 60_000) / rpm,
    work: place.report('image-work'),
    pacer: place.report('pacer'),
    leadsMs,
    aheadMs: aheadMs[Math.floor(0.9 * aheadMs.length)] ?? 0,
  }
}

/** The constants are the product's; nothing else runs in this process meanwhile. */
async function withNothingEarlier<T>(act: () => Promise<T>): Promise<T> {
  const { coldKnownMs } = timing
  const { jobsHeldEarlyMax } = limits
  Object.assign(timing, { coldKnownMs: 0 })
  Object.assign(limits, { jobsHeldEarlyMax: 0 })
  try {
    return await act()
  } finally {
    Object.assign(timing, { coldKnownMs })
    Object.assign(limits, { jobsHeldEarlyMax })
  }
}
