import type { DeploymentOptions } from '../src/local/deployment/deployment.ts'
import { latencyMs } from './work.ts'

/** What a run is up against. */
export type Conditions = {
  readonly rpm: number
  /** A refused request counts in the windows, as Azure's text says it does. */
  readonly isStrict: boolean
  readonly hasFaults: boolean
}

/** Of a hundred requests, one is answered with 500 and one, which is paid for, is not answered. */
const faults = { serverError: 0.01, dropped: 0.01 } as const

/** A bound of one run, and how many jobs it has: at its limit a perfect runner needs half the time. */
export type Size = { readonly jobs: number; readonly limitMs: number }

export type Sizes = { readonly at60: Size; readonly at600: Size }

export function deploymentUnder({ rpm, isStrict, hasFaults }: Conditions): DeploymentOptions {
  return { rpm, latencyMs, countRejected: isStrict, ...(hasFaults ? { faults } : {}) }
}
