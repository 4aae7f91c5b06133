import { RestError, type BlobServiceClient } from '@azure/storage-blob'
import { z } from 'zod'

/** What is kept of a timer's runs, so that one that was missed is known after a restart. Times are ISO 8601, in UTC. */
export type TimerStatus = z.infer<typeof statusSchema>

export type TimerStatusStore = {
  /** Undefined before the first start. */
  read(functionName: string): Promise<TimerStatus | undefined>
  write(functionName: string, status: TimerStatus): Promise<void>
}

/** Where the real host keeps them: a blob a function. Source: its timer extension, StorageScheduleMonitor. */
export function timerStatusStore(blobs: BlobServiceClient): TimerStatusStore {
  const container = blobs.getContainerClient('azure-webjobs-hosts')
  const blobOf = (functionName: string) =>
    container.getBlockBlobClient(`timers/local/Host.Functions.${functionName}/status`)
  return {
    async read(functionName) {
      try {
        const content = (await blobOf(functionName).downloadToBuffer()).toString('utf8')
        return statusSchema.parse(JSON.parse(content))
      } catch (error) {
        if (error instanceof RestError && error.statusCode === 404) return undefined
        throw error
      }
    },
    async write(functionName, status) {
      const content = JSON.stringify(status)
      const write = async (): Promise<unknown> =>
        blobOf(functionName).upload(content, Buffer.byteLength(content))
      try {
        await write()
      } catch (error) {
        if (!(error instanceof RestError) || error.statusCode !== 404) throw error
        await container.createIfNotExists()
        await write()
      }
    },
  }
}

const statusSchema = z.object({ Last: z.string(), Next: z.string(), LastUpdated: z.string() })
