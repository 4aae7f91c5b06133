import { usdOf } from '../../core/costs/money.ts'
import { isHalted, newFlow, type Flow } from '../../core/budget/fairness.ts'
import type { Context } from '../context.ts'
import { refusedRecently, answersKept } from '../../core/jobs/counters.ts'

export type BatchRef = { readonly pool: string; readonly batch: string }

/** Changes the batch's flow against what it is now; `change` answers undefined to leave it alone. */
export async function changeFlow(
  context: Context,
  { pool, batch }: BatchRef,
  change: (flow: Flow) => Flow | undefined,
): Promise<Flow> {
  return context.budgets.changeFlow({ pool, batch, fresh: async () => freshFlow(context, batch), change })
}

/** The flow of a batch that has none: its terms are kept in the batch's own row. */
async function freshFlow(context: Context, batch: string): Promise<Flow> {
  const stored = await context.batches.readBatch(batch)
  return newFlow(batch, { share: context.shareOf(batch), ...stored })
}

/** The next job might cost more than the cap leaves. */
export async function haltAtCap(context: Context, { pool, batch }: BatchRef): Promise<void> {
  const stored = await context.batches.getBatch(batch)
  await changeFlow(context, { pool, batch }, (flow) => {
    if (flow.capMicroUsd === null || isHalted(flow)) return undefined
    const { spentMicroUsd = 0, unsureMicroUsd = 0, reservedMicroUsd = 0 } = stored?.counters ?? {}
    const taken = `${dollars(spentMicroUsd)} spent, ${dollars(unsureMicroUsd)} that may have been, ${dollars(reservedMicroUsd)} under way`
    const reason = `the next call might cost more than the cap of ${dollars(flow.capMicroUsd)} leaves (${taken}); raise cap_usd to go on`
    return { ...flow, decision: { kind: 'paused', by: 'cap', reason, at: context.clock.now() } }
  })
  context.log.event('cap_reached', { batch, pool })
}

function dollars(microUsd: number): string {
  return `$${usdOf(microUsd)}`
}

/** Call it when a job was refused: Azure blocks a resource whose prompts are refused too often. */
export async function noticeRefusals(context: Context, { pool, batch }: BatchRef): Promise<void> {
  const [stored, flow] = await Promise.all([
    context.batches.getBatch(batch),
    context.budgets.readFlow({ pool, batch }),
  ])
  if (stored === undefined || flow === undefined || isHalted(flow.value)) return
  const isTooMany = (since: number): boolean =>
    refusedRecently(stored.counters, since) > answersKept * context.refusalShareMax
  if (!isTooMany(flow.value.refusalsFrom)) return
  await changeFlow(context, { pool, batch }, (now) => {
    if (isHalted(now) || !isTooMany(now.refusalsFrom)) return undefined
    const refused = refusedRecently(stored.counters, now.refusalsFrom)
    const reason = `${refused} of the newest ${answersKept} jobs were refused by the content policy; look at them, then resume`
    return { ...now, decision: { kind: 'paused', by: 'refusals', reason, at: context.clock.now() } }
  })
  context.log.event('refusals', { batch, pool })
}
