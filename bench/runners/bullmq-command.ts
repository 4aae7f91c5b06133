import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { once } from 'node:events'
import { APIError } from 'openai'
import type { BullmqOptions } from './bullmq.ts'
import { noteFailure } from './outcomes.ts'
import { pictureCall } from './picture-call.ts'

/**
 * A worker of BullMQ as its documentation has it: the limiter counts for all workers of the queue, a 429 rests the
 * queue for as long as the answer says and costs no attempt, any other fault comes again with growing waits.
 */
const options: BullmqOptions = JSON.parse(process.argv[2] ?? '{}')
const { endpoint, folder, jobs, limiter } = options
// BullMQ wants this of a connection that waits.
const connection = new Redis({ host: '127.0.0.1', port: options.redisPort, maxRetriesPerRequest: null })
const attempts = 3
/** More than are ever under way, so that only the limiter holds calls back. */
const concurrency = 200
const restDefaultMs = 10_000

const picture = pictureCall({ endpoint, folder, maxRetries: 0 })
const queue = new Queue<{ index: number }>(options.queue, { connection })
queue.on('error', (error) => console.error(error.message))
await queue.waitUntilReady()
console.log('bullmq: ready')
await once(process, 'message')

if (options.isProducer) {
  await queue.addBulk(
    Array.from({ length: jobs }, (_, index) => ({
      name: 'picture',
      data: { index },
      opts: { jobId: `picture-${index}`, attempts, backoff: { type: 'exponential', delay: 1_000 } },
    })),
  )
}

const worker = new Worker<{ index: number }>(
  options.queue,
  async ({ data }) => {
    try {
      await picture(data.index)
    } catch (error) {
      if (!(error instanceof APIError && error.status === 429)) throw error
      await queue.rateLimit(waitMsIn(error.message) ?? restDefaultMs)
      throw Worker.RateLimitError()
    }
  },
  { connection, concurrency, limiter },
)
worker.on('error', (error) => console.error(error.message))
worker.on('failed', (job) => {
  if (job !== undefined && job.attemptsMade >= attempts) void noteFailure(folder, job.data.index)
})

/** Azure says how long to wait in the text of the answer. */
function waitMsIn(text: string): number | undefined {
  const seconds = /retry after (\d+) seconds/.exec(text)?.[1]
  return seconds === undefined ? undefined : Number(seconds) * 1_000
}

await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
process.exit()
