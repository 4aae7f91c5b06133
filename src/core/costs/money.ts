import { z } from 'zod'
import { limits } from '../limits.ts'

/** Money is a whole number of micro-USD, millionths of a US dollar, wherever it is kept or added up. */
export function microUsd(usd: number): number {
  return Math.round(usd * microUsdPerUsd)
}

export function usdOf(microUsd: number): number {
  return microUsd / microUsdPerUsd
}

const microUsdPerUsd = 1_000_000

const wantedCap = `US dollars, more than 0 and at most ${limits.capUsdMax}, with at most 6 decimals`

/** What a batch may cost, given in US dollars; comes out in micro-USD. */
export const capUsdSchema = z
  .number(wantedCap)
  .positive(wantedCap)
  .max(limits.capUsdMax, wantedCap)
  .refine((usd) => usdOf(microUsd(usd)) === usd, wantedCap)
  .transform(microUsd)
