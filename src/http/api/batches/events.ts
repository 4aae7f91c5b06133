import { z } from 'zod'
import { jobId } from '../../../core/jobs/keys.ts'
import { limits } from '../../../core/limits.ts'
import { isOver, liveId, parseLiveId, placeOf, type LiveJob } from '../../../core/batches/live.ts'
import { timing } from '../../../core/timing.ts'
import { followers } from '../../../pipeline/status/batch-watch.ts'
import { liveEvents, type LiveEvent } from '../../../pipeline/status/live-events.ts'
import type { BatchStatus } from '../../../pipeline/status/status.ts'
import { readQuery } from '../../query.ts'
import { replyError, seconds, usd, type Call, type Reply } from '../../reply.ts'
import { batchBody } from './batch-body.ts'
import { statusOfPath } from './batch-of-path.ts'

const eventsQuery = z.strictObject({ since: z.enum(['start', 'now']).default('start') })

/**
 * GET /v1/batches/{name}/events: server-sent events. Who comes back with the `Last-Event-ID` of the batch's end is told
 * that there is no more, which is how a browser learns to stop.
 */
export async function getEvents(call: Call): Promise<Reply> {
  const { request, context, gone } = call
  const found = await statusOfPath(call)
  if (found.kind === 'refused') return found.reply
  const { status } = found
  const query = readQuery(request, eventsQuery)
  if (query.kind === 'refused') return query.reply
  const lastId = request.headers.get('last-event-id') ?? ''
  const after = lastId === '' ? undefined : parseLiveId(lastId)
  if (lastId !== '' && after === undefined) {
    const message = 'Last-Event-ID: it is none of ours; leave it out to begin anew'
    return replyError({ status: 400, param: 'Last-Event-ID', code: 'invalid_value', message })
  }
  if (after?.kind === 'end' && isOver(status.status)) return { status: 204, headers: {} }
  if (followers(context) >= limits.liveStreamsMax) {
    const message = `this instance has ${limits.liveStreamsMax} event streams open; come again later`
    const refused = replyError({ status: 429, code: 'too_many_streams', message })
    return { ...refused, headers: { ...refused.headers, 'retry-after': '30' } }
  }
  const isNewOnly = query.value.since === 'now'
  const events = liveEvents(context, { batch: status.batch, after, isNewOnly }, gone)
  return {
    status: 200,
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      // Proxies that gather what they pass on would make it late.
      'x-accel-buffering': 'no',
    },
    body: written(events, { batch: status.batch, origin: new URL(request.url).origin }),
  }
}

async function* written(events: AsyncIterable<readonly LiveEvent[]>, of: Of): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  // Says at once that the stream is open, and how long to wait before coming back.
  yield encoder.encode(`retry: ${timing.liveRetryMs}\n\n`)
  for await (const each of events) yield encoder.encode(each.map((event) => eventText(event, of)).join(''))
}

type Of = { readonly batch: string; readonly origin: string }

function eventText(event: LiveEvent, { batch, origin }: Of): string {
  switch (event.kind) {
    case 'counts':
      return message('counts', countsBody(event.status), event.place && liveId(event.place))
    case 'job':
      return message('job', jobEventBody(event.job, batch, origin), liveId(placeOf(event.job)))
    case 'batch':
      return message('batch', batchBody(event.status), endId(event.status))
    case 'alive':
      return ': alive\n\n'
    case 'pause':
      return `: come back\nretry: ${timing.liveRetryMs}\n\n`
  }
}

function message(event: string, data: object, id: string | undefined): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}

function endId({ counters, createdAt }: BatchStatus): string {
  return liveId({ kind: 'end', at: counters.lastFinishedAt ?? createdAt })
}

function countsBody(status: BatchStatus): object {
  const { counts, counters } = status
  return {
    id: status.batch,
    status: status.status,
    counts,
    images: counters.images,
    cost_usd: usd(counters.spentMicroUsd),
    rate_per_minute: status.ratePerMinute,
    estimated_finish_at: seconds(status.estimatedFinishAt),
  }
}

/** What the row of a finished job tells; the job itself is at `url`. */
function jobEventBody({ key, kind, finishedAt, failure }: LiveJob, batch: string, origin: string): object {
  const id = jobId({ batch, key })
  const url = `${origin}/v1/jobs/${id}`
  return {
    id,
    // Any other custom id has become a key of another form.
    custom_id: key.includes('~') ? null : key,
    status: kind,
    failure_kind: failure,
    finished_at: seconds(finishedAt),
    url,
    image_url: kind === 'succeeded' ? `${url}/images/0` : null,
  }
}
