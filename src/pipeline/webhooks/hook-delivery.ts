import type { Webhook } from '../../core/batches/batch-order.ts'
import { isFinal, type Job } from '../../core/jobs/job.ts'
import { errorCode } from '../../core/log-event.ts'
import { timing } from '../../core/timing.ts'
import {
  deliveryOf,
  jobEvent,
  logged,
  nextLookMs,
  nextTryMs,
  verdictOf,
  type HookEvent,
  type WebhookAnswer,
} from '../../core/batches/webhook.ts'
import type { HookMessage } from '../../ports/messages.ts'
import type { WebhookSender } from '../../ports/webhooks.ts'
import type { Context } from '../context.ts'
import { webhookOf } from './webhooks.ts'

export type HookOutcome =
  | { readonly kind: 'delivered'; readonly eventId: string }
  | { readonly kind: 'again'; readonly eventId: string; readonly answer: string; readonly dueAt: number }
  | { readonly kind: 'given-up'; readonly eventId: string; readonly answer: string }
  /** The job is not finished: it is looked at later. */
  | { readonly kind: 'unfinished'; readonly dueAt: number }
  /** Its receiver has as many events of this instance in hand as it may: it comes again, and that is no try. */
  | { readonly kind: 'busy'; readonly dueAt: number }
  | { readonly kind: 'dropped'; readonly why: string }

/**
 * Delivers one event, or sees to its next try. A message that comes twice may deliver its event twice, under the same
 * id: receivers compare it.
 */
export async function deliverHook(context: Context, message: HookMessage): Promise<HookOutcome> {
  const webhook = await webhookOf(context, message.batch)
  if (webhook === null) return { kind: 'dropped', why: 'its batch has no webhook' }
  if (message.kind === 'event') {
    return (
      (message.tries === 1 ? await untrueEnd(context, message) : undefined) ??
      deliver(context, webhook, message)
    )
  }
  const { batch } = message
  const stored = await context.jobs.get(message)
  const ended = stored && endOf(stored.job, message)
  if (ended === undefined) return lookAgain(context, message)
  const event = ended === 'another' ? undefined : jobEvent(ended, webhook.origin)
  if (event === undefined) return { kind: 'dropped', why: 'the job ended in another way, which was told' }
  return deliver(context, webhook, { kind: 'event', batch, event, tries: 1 })
}

/**
 * The end of a batch is told before it is written. Should jobs of it have been asked for again between, it was none, and
 * its next end is told by itself.
 */
async function untrueEnd(
  context: Context,
  message: Extract<HookMessage, { kind: 'event' }>,
): Promise<HookOutcome | undefined> {
  const { batch, event } = message
  const progress = (await context.batches.readBatch(batch))?.progress
  if (progress?.kind === 'finalizing') {
    const dueAt = context.clock.now() + timing.hookSettleMs
    await context.messages.sendHook(message, dueAt)
    return { kind: 'unfinished', dueAt }
  }
  const wentOn = progress?.kind === 'registering' || progress?.kind === 'registered'
  const fileId = progress?.kind === 'finished' ? (progress.outputFileId ?? progress.errorFileId ?? '') : ''
  return wentOn || !event.body.includes(fileId) ? { kind: 'dropped', why: 'the batch went on' } : undefined
}

/**
 * The queue could not have the message dealt with: storage was away, as a rule. That must not be the end of an event
 * which is to be tried for a day: it comes again as after a try that failed, and a job is looked at again for as long.
 */
export async function putOffHook(context: Context, message: HookMessage): Promise<HookOutcome> {
  const now = context.clock.now()
  if (message.kind === 'job') {
    if (now - message.finishedAt > lookedForMs) return { kind: 'dropped', why: 'nobody could look for a day' }
    const dueAt = now + putOffMs
    await context.messages.sendHook(message, dueAt)
    return { kind: 'unfinished', dueAt }
  }
  const { event, tries } = message
  const answer: WebhookAnswer = { kind: 'failed', code: 'not_sent' }
  const delayMs = nextTryMs(tries, { answer, chance: context.chance() })
  if (delayMs === undefined) return { kind: 'given-up', eventId: event.eventId, answer: answer.code }
  const dueAt = now + delayMs
  await context.messages.sendHook({ ...message, tries: tries + 1 }, dueAt)
  return { kind: 'again', eventId: event.eventId, answer: answer.code, dueAt }
}

const lookedForMs = 24 * 3_600_000
const putOffMs = 600_000

/** The job as it ended then; undefined while it has not, `another` when it ended otherwise. */
function endOf(job: Job, { finishedAt, failure }: JobMessage): Job | 'another' | undefined {
  const { phase } = job
  if ('finishedAt' in phase && phase.finishedAt === finishedAt) return job
  if (job.failedAt === finishedAt && failure !== null) {
    return { ...job, phase: { kind: 'failed', finishedAt, failure: { ...failure, message: '' } } }
  }
  return isFinal(job) ? 'another' : undefined
}

type JobMessage = Extract<HookMessage, { kind: 'job' }>

/** Its last change is still on its way, or was never made; then whoever ends the job tells of it. */
async function lookAgain(context: Context, message: JobMessage): Promise<HookOutcome> {
  const delayMs = nextLookMs(message.looks)
  if (delayMs === undefined) return { kind: 'dropped', why: 'the job did not end so' }
  const dueAt = context.clock.now() + delayMs
  await context.messages.sendHook({ ...message, looks: message.looks + 1 }, dueAt)
  return { kind: 'unfinished', dueAt }
}

async function deliver(
  context: Context,
  { url }: Webhook,
  message: Extract<HookMessage, { kind: 'event' }>,
): Promise<HookOutcome> {
  const { batch, event, tries } = message
  const { eventId, body } = event
  if ((await context.batches.readHookLog(batch))?.isGone === true) {
    return { kind: 'dropped', why: 'the receiver wants no more events' }
  }
  const sentAt = context.clock.now()
  const answer = await sendInTurn(context, { url, eventId, body, sentAt })
  if (answer === 'busy') {
    const dueAt = sentAt + timing.receiverBusyMs * (0.5 + context.chance())
    await context.messages.sendHook(message, dueAt)
    return { kind: 'busy', dueAt }
  }
  const verdict = verdictOf(answer)
  const delayMs = verdict === 'again' ? nextTryMs(tries, { answer, chance: context.chance() }) : undefined
  const nextAt = delayMs === undefined ? null : context.clock.now() + delayMs
  if (nextAt !== null) await context.messages.sendHook({ ...message, tries: tries + 1 }, nextAt)
  await keep(context, { batch, event, tries, answer, at: sentAt, nextAt })
  if (verdict === 'delivered') return { kind: 'delivered', eventId }
  const said =
    answer.kind === 'status' ? String(answer.status) : answer.kind === 'failed' ? answer.code : answer.why
  return nextAt === null
    ? { kind: 'given-up', eventId, answer: said }
    : { kind: 'again', eventId, answer: said, dueAt: nextAt }
}

/** One receiver that is slow to answer must not have all the hands of an instance, and keep the others' events. */
async function sendInTurn(
  context: Context,
  delivery: Parameters<WebhookSender['send']>[0],
): Promise<WebhookAnswer | 'busy'> {
  const release = context.capacity.takeDelivery(URL.parse(delivery.url)?.host ?? delivery.url)
  if (release === undefined) return 'busy'
  try {
    return await context.webhooks.send(delivery)
  } finally {
    release()
  }
}

/** What was tried is only shown, and the next try is on its way: a message that came again for it would start another row of tries. */
async function keep(
  context: Context,
  tried: {
    readonly batch: string
    readonly event: HookEvent
    readonly tries: number
    readonly answer: WebhookAnswer
    readonly at: number
    readonly nextAt: number | null
  },
): Promise<void> {
  const { batch, event, answer, ...rest } = tried
  const { eventId, type } = event
  const delivery = deliveryOf(answer, { eventId, type, ...rest })
  try {
    await context.batches.changeHookLog(batch, (log) => logged(log, delivery))
  } catch (error) {
    // Storage is away. That a receiver wants no more is more than shown: it is asked again.
    if (verdictOf(answer) === 'gone') throw error
    context.log.event('storage_failed', { doing: 'webhook', batch, eventId, code: errorCode(error) })
  }
}
