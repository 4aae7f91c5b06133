import type { TableClient } from '@azure/data-tables'
import type { RequestPolicyFactory } from '@azure/storage-blob'
import type { DateSeen } from '../core/clock-offset.ts'

/** Who wants to know what time the service says it is. `now` is the machine's clock, which is what is measured. */
export type DateListener = {
  readonly now: () => number
  readonly heard: (seen: DateSeen) => void
}

/**
 * For the factories of the blob and queue clients' pipelines. It sees a call that succeeds, once, with all of its
 * retries: that says less than each of them would, and is as true.
 */
export function hearsDates(listener: DateListener): RequestPolicyFactory {
  return {
    create: (next) => ({
      sendRequest: async (request) => listen(listener, async () => next.sendRequest(request)),
    }),
  }
}

/** Sees the answer to each try of a call. Returns the client. */
export function hearDatesOf(client: TableClient, listener: DateListener): TableClient {
  client.pipeline.addPolicy(
    {
      name: 'darkroomHearsDates',
      sendRequest: async (request, next) => listen(listener, async () => next(request)),
    },
    { afterPhase: 'Retry' },
  )
  return client
}

type Answer = { readonly headers: { get(name: string): string | undefined } }

async function listen<A extends Answer>(listener: DateListener, ask: () => Promise<A>): Promise<A> {
  const sentAt = listener.now()
  const answer = await ask()
  const receivedAt = listener.now()
  // The service marks each of its answers with an id; a proxy on the way that answers in its place has another clock.
  if (answer.headers.get('x-ms-request-id') !== undefined) {
    const serverDate = Date.parse(answer.headers.get('date') ?? '')
    if (!Number.isNaN(serverDate)) listener.heard({ sentAt, receivedAt, serverDate })
  }
  return answer
}
