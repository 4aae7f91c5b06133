import { isSubmitted } from '../../core/timed-id.ts'
import type { Webhook } from '../../core/batches/batch-order.ts'
import { type Job, isFinal } from '../../core/jobs/job.ts'
import { timing } from '../../core/timing.ts'
import { batchEvent, type BatchEnd } from '../../core/batches/webhook.ts'
import type { Context } from '../context.ts'
import { knownBatch } from '../intake/known-batch.ts'

/**
 * Call it before a job's last change is written: who dies between the two leaves a message that finds the job
 * unfinished, never a finished job that nobody tells of. Costs nothing but a map's look-up where no webhook is wanted.
 */
export async function tellJobEnd(context: Context, after: Job): Promise<void> {
  const { batch, key, phase } = after
  if (!isFinal(after) || !('finishedAt' in phase)) return
  const webhook = await webhookOf(context, batch)
  if (webhook?.perJob !== true) return
  const { finishedAt } = phase
  const failure = phase.kind === 'failed' ? { kind: phase.failure.kind, code: phase.failure.code } : null
  await context.messages.sendHook(
    { kind: 'job', batch, key, finishedAt, failure, looks: 1 },
    context.clock.now() + timing.hookSettleMs,
  )
}

/**
 * Call it before the batch's end is written, as often as need be: one end told twice is one event. Nothing happens when
 * the batch has no webhook.
 */
export async function tellBatchEnd(context: Context, end: BatchEnd): Promise<void> {
  const { batch } = end
  const webhook = await webhookOf(context, batch)
  if (webhook === null) return
  const event = batchEvent(end, webhook.origin)
  await context.messages.sendHook(
    { kind: 'event', batch, event, tries: 1 },
    context.clock.now() + timing.hookSettleMs,
  )
}

export async function webhookOf(
  context: Context,
  batch: string,
): Promise<(Webhook & { readonly origin: string }) | null> {
  if (!isSubmitted(batch)) return null
  const order = (await knownBatch(context, batch))?.order
  return order?.webhook ? { ...order.webhook, origin: order.origin } : null
}
