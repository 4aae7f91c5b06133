import type { QueueClient } from '@azure/storage-queue'
import { setTimeout as wait } from 'node:timers/promises'
import { inboxName, keyOf } from '../../src/core/jobs/keys.ts'
import { chanceFrom, type Chance } from '../../src/local/deployment/chance.ts'
import type { JobRef } from '../../src/ports/jobs.ts'

/** What a user puts on the queue. A prompt belongs to one job, so that calls can be told by it. */
export type Message = {
  readonly text: string
  readonly batch: string | null
  readonly customId: string | null
  readonly isValid: boolean
}

export type Sent = Message & { readonly messageId: string; readonly insertedAt: number }

/**
 * Messages of `jobs` jobs, in the order in which they are sent. Some with a custom id come twice, at once or much later.
 * Equal seeds give equal messages.
 */
export function messagesOf({ jobs, seed }: { readonly jobs: number; readonly seed: number }): Message[] {
  const chance = chanceFrom('messages', seed)
  const marked = new Map(markers.map((marker, index) => [placeOf(marker, { index, jobs }), marker]))
  const placed = Array.from({ length: jobs }, (_, index) => {
    const message =
      chance() < shares.invalid && !marked.has(index)
        ? invalidMessage(index, chance)
        : validMessage(index, marked.get(index) ?? '', chance)
    const isTwice = message.isValid && message.customId !== null && chance() < shares.twice
    const again = { message, place: index + (chance() < 0.5 ? 0 : chance() * jobs) }
    return [{ message, place: index }, ...(isTwice ? [again] : [])]
  }).flat()
  return placed.sort((a, b) => a.place - b.place).map(({ message }) => message)
}

const shares = { invalid: 0.03, twice: 0.15, nameless: 0.3, inbox: 0.15, base64: 0.1, line: 0.1 }

/** Beside the inbox of the day. */
export const batches = ['catalog', 'campaign', 'posters'] as const

/**
 * Every fault that the deployment knows, at least once each; what 404 leads to, 401 and 403 do too. `slow` ones are
 * there to be killed, and the longest has its lease renewed. `nonsense` is what only the model finds to be invalid.
 */
const markers = [
  'slow:8:x1',
  'slow:15:x2',
  'slow:30:x1',
  'slow:55:x1',
  'moderation_blocked',
  'content_policy_violation',
  'contentFilter',
  'contentFilterOutput',
  '408:x1',
  '500:x2',
  '503:x1',
  'capacity:x1',
  'dropped:x2',
  'truncated:x1',
  'short:x1',
  'garbage',
  'nonsense',
  '404:x1',
]

/** Spread over all jobs. The one that stops the deployment comes late: half a minute may pass until it is tried again. */
function placeOf(marker: string, { index, jobs }: { index: number; jobs: number }): number {
  const share = marker.startsWith('404') ? 0.8 : (index + 0.5) / markers.length
  return Math.floor(share * jobs)
}

function validMessage(index: number, marker: string, chance: Chance): Message {
  const number = String(index + 1).padStart(4, '0')
  const batch = chance() < shares.inbox ? null : pick(batches, chance)
  const customId =
    chance() < shares.nameless ? null : `picture ${number}`.replaceAll(' ', pick('-_ ', chance))
  const body = {
    prompt: `Picture ${number}${marker === '' ? '' : ` [fault:${marker}]`}`,
    size: pick(['1024x1024', '1024x1536', '1536x1024'], chance),
    quality: pick(['low', 'medium', 'high'], chance),
    output_format: pick(['png', 'jpeg'], chance),
    n: pick([1, 1, 1, 1, 2, 3], chance),
  }
  const names = {
    ...(batch === null ? {} : { batch }),
    ...(customId === null ? {} : { custom_id: customId }),
  }
  const form = chance()
  const isLine = form < shares.line
  const isBase64 = !isLine && form < shares.line + shares.base64
  const line = { method: 'POST', url: '/v1/images/generations', ...names, body }
  const json = JSON.stringify(isLine ? line : { ...body, ...names })
  return { text: isBase64 ? btoa(json) : json, batch, customId, isValid: true }
}

function invalidMessage(index: number, chance: Chance): Message {
  const batch = pick(batches, chance)
  const customId = `wrong-${index + 1}`
  const prompt = `Wrong picture ${index + 1}`
  const fault = pick(
    [{ prompt, size: '512x512' }, { prompt, n: -1 }, { prompt, siez: 'auto' }, { prompt: ' ' }, null],
    chance,
  )
  return fault === null
    ? { text: `This is not JSON: ${prompt}`, batch: null, customId: null, isValid: false }
    : { text: JSON.stringify({ ...fault, batch, custom_id: customId }), batch, customId, isValid: false }
}

/** Sends in waves of equal size; some of a wave overtake others, as those of users do. */
export async function sendInWaves(
  queue: QueueClient,
  messages: readonly Message[],
  { waves, everyMs }: { waves: number; everyMs: number },
): Promise<readonly Sent[]> {
  const sent: Sent[] = []
  const size = Math.ceil(messages.length / waves)
  for (let start = 0; start < messages.length; start += size) {
    if (start > 0) await wait(everyMs)
    const rest = messages.slice(start, start + size).values()
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (const message of rest) {
          const { messageId, insertedOn } = await queue.sendMessage(message.text)
          sent.push({ ...message, messageId, insertedAt: insertedOn.getTime() })
        }
      }),
    )
  }
  return sent
}

/**
 * The jobs that must have come of them: of those sent twice one. Where a message that names no batch was rejected is
 * known to who rejected it: that is the inbox of a day on which the run went on.
 */
export function jobsOf(sent: readonly Sent[], isThere: (job: JobRef) => boolean): readonly JobRef[] {
  const jobs = sent.map((message): JobRef => {
    const key = keyOfMessage(message)
    const { insertedAt } = message
    const days = message.isValid ? [insertedAt] : [insertedAt, insertedAt + dayMs]
    const refs = (message.batch === null ? days.map((day) => inboxName(day)) : [message.batch]).map(
      (batch) => ({
        batch,
        key,
      }),
    )
    return refs.find(isThere) ?? refs[0]!
  })
  return [...new Map(jobs.map((job) => [`${job.batch}/${job.key}`, job])).values()]
}

const dayMs = 86_400_000

function keyOfMessage({ text, messageId, customId, isValid }: Sent): string {
  if (!isValid) return keyOf({ kind: 'rejected', id: `${customId ?? ''}\n${messageId}\n${text}` })
  return customId === null
    ? keyOf({ kind: 'message', id: messageId })
    : keyOf({ kind: 'custom-id', id: customId })
}

function pick<T>(choices: ArrayLike<T>, chance: Chance): T {
  return choices[Math.floor(chance() * choices.length)]!
}
