import type { Webhook } from '../core/batch-order.ts'
import {
  deliveryOf,
  jobEvent,
  logged,
  nextLookMs,
  nextTryMs,
  verdictOf,
  type HookEvent,
  type WebhookAnswer,
} from '../core/webhook.ts'
import type { HookMessage } from '../ports.ts'
import type { Darkroom } from './darkroom.ts'
import { webhookOf } from './webhooks.ts'

export type HookOutcome =
  | { readonly kind: 'delivered'; readonly eventId: string }
  | { readonly kind: 'again'; readonly eventId: string; readonly answer: string; readonly dueAt: number }
  | { readonly kind: 'given-up'; readonly eventId: string; readonly answer: string }
  /** The job is not finished: it is looked at later. */
  | { readonly kind: 'unfinished'; readonly dueAt: number }
  | { readonly kind: 'dropped'; readonly why: string }

/**
 * Delivers one event, or sees to its next try. A message that comes twice may deliver its event twice, under the same
 * id: receivers compare it.
 */
export async function deliverHook(room: Darkroom, message: HookMessage): Promise<HookOutcome> {
  const webhook = await webhookOf(room, message.batch)
  if (webhook === null) return { kind: 'dropped', why: 'its batch has no webhook' }
  if (message.kind === 'event') return deliver(room, webhook, message)
  const { batch } = message
  const stored = await room.jobs.get(message)
  const event = stored && jobEvent(stored.job, webhook.origin)
  if (event === undefined) return lookAgain(room, message)
  const { phase } = stored?.job ?? {}
  if (phase === undefined || !('finishedAt' in phase) || phase.finishedAt !== message.finishedAt) {
    return { kind: 'dropped', why: 'the job ended in another way, which was told' }
  }
  return deliver(room, webhook, { kind: 'event', batch, event, tries: 1 })
}

/** Its last change is still on its way, or was never made; then whoever ends the job tells of it. */
async function lookAgain(
  room: Darkroom,
  message: Extract<HookMessage, { kind: 'job' }>,
): Promise<HookOutcome> {
  const delayMs = nextLookMs(message.looks)
  if (delayMs === undefined) return { kind: 'dropped', why: 'the job did not end so' }
  const dueAt = room.clock.now() + delayMs
  await room.messages.sendHook({ ...message, looks: message.looks + 1 }, dueAt)
  return { kind: 'unfinished', dueAt }
}

async function deliver(
  room: Darkroom,
  { url }: Webhook,
  message: Extract<HookMessage, { kind: 'event' }>,
): Promise<HookOutcome> {
  const { batch, event, tries } = message
  const { eventId, body } = event
  if ((await room.jobs.readHookLog(batch))?.isGone === true) {
    return { kind: 'dropped', why: 'the receiver wants no more events' }
  }
  const sentAt = room.clock.now()
  const answer = await room.webhooks.send({ url, eventId, body, sentAt })
  const verdict = verdictOf(answer)
  const delayMs = verdict === 'again' ? nextTryMs(tries, { answer, chance: room.chance() }) : undefined
  const nextAt = delayMs === undefined ? null : room.clock.now() + delayMs
  if (nextAt !== null) await room.messages.sendHook({ ...message, tries: tries + 1 }, nextAt)
  await keep(room, { batch, event, tries, answer, at: sentAt, nextAt })
  if (verdict === 'delivered') return { kind: 'delivered', eventId }
  const said =
    answer.kind === 'status' ? String(answer.status) : answer.kind === 'failed' ? answer.code : answer.why
  return nextAt === null
    ? { kind: 'given-up', eventId, answer: said }
    : { kind: 'again', eventId, answer: said, dueAt: nextAt }
}

async function keep(
  room: Darkroom,
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
  await room.jobs.changeHookLog(batch, (log) => logged(log, delivery))
}
