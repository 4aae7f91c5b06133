import { QueueServiceClient } from '@azure/storage-queue'
import { z } from 'zod'
import { findJson } from './json.ts'
import { parameters, promptOf } from './work.ts'
import type { Host } from './world.ts'

/** Puts jobs on the public queue, as any producer would. */
export async function putJobs(
  connectionString: string,
  { batch, count, from = 0 }: { readonly batch: string; readonly count: number; readonly from?: number },
): Promise<void> {
  const queue = QueueServiceClient.fromConnectionString(connectionString).getQueueClient('image-jobs')
  await queue.createIfNotExists()
  const indexes = Array.from({ length: count }, (_, index) => from + index).values()
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const index of indexes) {
        const job = { prompt: promptOf(index), ...parameters, custom_id: String(index + 1), batch }
        await queue.sendMessage(JSON.stringify(job))
      }
    }),
  )
}

export type Counts = z.infer<typeof countsSchema> & { readonly possiblyRepeated: number }

/** The batch's counts; all zero before its first job is registered. */
export async function batchCounts(host: Pick<Host, 'url'>, batch: string): Promise<Counts> {
  const found = await findJson(`${host.url}/v1/batches/${batch}`)
  if (found === undefined)
    return { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0, possiblyRepeated: 0 }
  const { counts, possibly_repeated_calls: possiblyRepeated } = batchSchema.parse(found)
  return { ...counts, possiblyRepeated }
}

const countsSchema = z.object({
  total: z.number(),
  waiting: z.number(),
  running: z.number(),
  succeeded: z.number(),
  failed: z.number(),
})

const batchSchema = z.object({ counts: countsSchema, possibly_repeated_calls: z.number() })
