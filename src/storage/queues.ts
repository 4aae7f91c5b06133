import type { QueueClient, QueueServiceClient } from '@azure/storage-queue'
import { z } from 'zod'
import { failureKinds } from '../core/jobs/failure.ts'
import { eventTypes } from '../core/batches/webhook.ts'
import type { BatchTask, HookMessage, Messages, TickMessage, WorkMessage } from '../ports/messages.ts'
import type { Clock } from '../ports/clock.ts'

/** The queues; each has a `-poison` queue, which the functions host makes when it needs it. */
export const queueNames = {
  jobs: 'image-jobs',
  work: 'image-work',
  pacer: 'pacer',
  batches: 'batch-work',
  webhooks: 'webhooks',
} as const

export function poisonName<Name extends string>(queue: Name): `${Name}-poison` {
  return `${queue}-poison`
}

/** Storage keeps a message for seven days unless told otherwise; a paused deployment may keep its work longer. */
const noExpiry = -1

/**
 * Messages of the pipeline to itself. Their fields avoid the names of the queue's own facts (`id`, `dequeueCount`, …),
 * which the host would let them override.
 */
export function azureMessages(queues: QueueServiceClient, clock: Pick<Clock, 'now'>): Messages {
  const work = queues.getQueueClient(queueNames.work)
  const pacer = queues.getQueueClient(queueNames.pacer)
  const batches = queues.getQueueClient(queueNames.batches)
  const hooks = queues.getQueueClient(queueNames.webhooks)
  const secondsUntil = (time: number): number => Math.max(0, (time - clock.now()) / 1_000)
  return {
    // A worker rather wakes early than late.
    sendWork: async (message, visibleAt) => send(work, message, Math.floor(secondsUntil(visibleAt))),
    // The service counts in whole seconds. A tick must not come before it is due: others rely on it to be still to come.
    sendTick: async (message, visibleAt) => send(pacer, message, Math.ceil(secondsUntil(visibleAt))),
    sendBatchTask: async (message, visibleAt) => send(batches, message, Math.ceil(secondsUntil(visibleAt))),
    sendHook: async (message, visibleAt) => send(hooks, message, Math.ceil(secondsUntil(visibleAt))),
  }
}

export const workMessageSchema = z.object({
  pool: z.string(),
  quota: z.string(),
  deployment: z.string(),
  batch: z.string(),
  key: z.string(),
  slotAt: z.number(),
  epoch: z.int(),
  wakeAt: z.number(),
}) satisfies z.ZodType<WorkMessage>

export const tickMessageSchema = z.object({
  pool: z.string(),
  epoch: z.int(),
}) satisfies z.ZodType<TickMessage>

const batchName = z.string()

export const batchTaskSchema = z.discriminatedUnion('task', [
  z.object({ task: z.literal('register'), batch: batchName }),
  z.object({ task: z.literal('finalise'), batch: batchName }),
  z.object({
    task: z.literal('retry'),
    batch: batchName,
    kinds: z.array(z.enum(failureKinds)),
    failedBefore: z.number(),
  }),
]) satisfies z.ZodType<BatchTask>

export const hookMessageSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('job'),
    batch: z.string(),
    key: z.string(),
    finishedAt: z.number(),
    failure: z.object({ kind: z.enum(failureKinds), code: z.string() }).nullable(),
    looks: z.int(),
  }),
  z.object({
    kind: z.literal('event'),
    batch: z.string(),
    event: z.object({ eventId: z.string(), type: z.enum(eventTypes), body: z.string() }),
    tries: z.int(),
  }),
]) satisfies z.ZodType<HookMessage>

async function send(
  queue: QueueClient,
  message: WorkMessage | TickMessage | BatchTask | HookMessage,
  visibilityTimeout: number,
): Promise<void> {
  await queue.sendMessage(JSON.stringify(message), { visibilityTimeout, messageTimeToLive: noExpiry })
}
