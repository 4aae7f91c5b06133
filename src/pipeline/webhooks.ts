import { isSubmitted, type Webhook } from '../core/batch-order.ts'
import { jobCounts } from '../core/counters.ts'
import type { Job } from '../core/job.ts'
import { isFinal } from '../core/job.ts'
import { timing } from '../core/timing.ts'
import { batchEvent, emptyHookLog, type BatchEnd, type Delivery } from '../core/webhook.ts'
import type { Darkroom } from './darkroom.ts'
import { knownBatch } from './known-batch.ts'

/**
 * Call it before a job's last change is written: who dies between the two leaves a message that finds the job
 * unfinished, never a finished job that nobody tells of. Costs nothing but a map's look-up where no webhook is wanted.
 */
export async function tellJobEnd(room: Darkroom, after: Job): Promise<void> {
  const { batch, key, phase } = after
  if (!isFinal(after) || !('finishedAt' in phase)) return
  const webhook = await webhookOf(room, batch)
  if (webhook?.perJob !== true) return
  const { finishedAt } = phase
  await room.messages.sendHook(
    { kind: 'job', batch, key, finishedAt, looks: 1 },
    room.clock.now() + timing.hookSettleMs,
  )
}

/**
 * Call it before the batch's end is written, as often as need be: told twice with the same `endedAt` it is one event.
 * Nothing happens when the batch has no webhook.
 */
export async function announceBatchEnd(room: Darkroom, end: Omit<BatchEnd, 'counts'>): Promise<void> {
  const { batch } = end
  if ((await webhookOf(room, batch)) === null) return
  const stored = await room.jobs.getBatch(batch)
  if (stored === undefined) return
  const event = batchEvent({ ...end, counts: jobCounts(stored.counters) }, room.publicUrl)
  await room.messages.sendHook(
    { kind: 'event', batch, event, tries: 1 },
    room.clock.now() + timing.hookSettleMs,
  )
}

export type WebhookStatus = Webhook & { readonly deliveries: readonly Delivery[] }

/** A batch's webhook and its newest tries; null when it has none. */
export async function webhookStatus(room: Darkroom, batch: string): Promise<WebhookStatus | null> {
  const webhook = await webhookOf(room, batch)
  if (webhook === null) return null
  const { deliveries } = (await room.jobs.readHookLog(batch)) ?? emptyHookLog
  return { ...webhook, deliveries }
}

export async function webhookOf(room: Darkroom, batch: string): Promise<Webhook | null> {
  if (!isSubmitted(batch)) return null
  return (await knownBatch(room, batch))?.order?.webhook ?? null
}
