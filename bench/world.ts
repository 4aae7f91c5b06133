import { QueueServiceClient } from '@azure/storage-queue'
import { z } from 'zod'
import { startChild, type Child } from '../src/local/child.ts'
import { defaultSettings } from '../src/local/deployment/settings.ts'
import {
  startDeploymentProcess,
  startHostProcess,
  startStorageProcess,
  type DeploymentProcess,
} from '../src/local/processes.ts'

export type Storage = {
  readonly connectionString: string
  /** Operations by kind since the last call; empty where nobody counts. */
  takeCounts(): Promise<Readonly<Record<string, number>>>
}

export type Deployment = Pick<DeploymentProcess, 'endpoint' | 'log'>

/** `readyAt` is a time of `performance.now()`. */
export type Host = { readonly url: string; readonly child: Child; readonly readyAt: number }

export const { apiKey, deployment: deploymentName } = defaultSettings
export const [apiVersion = ''] = defaultSettings.apiVersions

/** What a part of the benchmark has started; all of it ends when the part does. */
export class World implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()

  async storage(): Promise<Storage> {
    const azurite = this.#stack.use(await startStorageProcess())
    return { connectionString: azurite.said, takeCounts: async () => ({}) }
  }

  /** Azurite behind a proxy for each of its services, which counts the operations. */
  async countedStorage(): Promise<Storage & { readonly direct: string }> {
    const { connectionString: direct } = await this.storage()
    let connectionString = direct
    const proxies: string[] = []
    for (const service of ['blob', 'queue', 'table']) {
      const target = new RegExp(`${service}Endpoint=(http://[^/]+)/`, 'i').exec(direct)?.[1] ?? ''
      const proxy = this.#stack.use(
        await startChild({
          path: 'bench/counting-proxy-command.ts',
          args: [service, target],
          env: {},
          ready: /^proxy: ready (\d+)$/,
        }),
      )
      const url = `http://127.0.0.1:${proxy.said}`
      connectionString = connectionString.replace(target, url)
      proxies.push(url)
    }
    return {
      connectionString,
      direct,
      takeCounts: async () => {
        const counts = await Promise.all(
          proxies.map(async (url) => countsSchema.parse(await getJson(`${url}/__counts`))),
        )
        return Object.assign({}, ...counts)
      },
    }
  }

  async deployment(options: { readonly rpm: number; readonly latencyMs: string }): Promise<Deployment> {
    const deployment = await startDeploymentProcess(options)
    this.#stack.use(deployment.child)
    return deployment
  }

  /** Hosts, each a process with its settings in the environment, as instances on Azure have them. */
  async hosts(
    count: number,
    options: { readonly storage: Storage; readonly deployment: Deployment; readonly rpm: number },
  ): Promise<readonly Host[]> {
    const { connectionString } = options.storage
    const { endpoint } = options.deployment
    const { rpm } = options
    const children = await Promise.all(
      Array.from({ length: count }, async () => startHostProcess({ connectionString, endpoint, rpm })),
    )
    return children.map((child) => ({ url: this.#stack.use(child).said, child, readyAt: child.readyAt }))
  }

  async child(options: Parameters<typeof startChild>[0]): Promise<Child> {
    return this.#stack.use(await startChild(options))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

/** The prompts of every runner: the simulated deployment takes equally long for the same prompt. */
export function promptOf(index: number): string {
  return `Bench picture ${String(index + 1).padStart(5, '0')}`
}

/** What a run asks of the model for each picture. */
export const parameters = { size: '1024x1024', quality: 'low' } as const

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

export type Counts = z.infer<typeof countsOfBatch>

/** The batch's counts; all zero before its first job is registered. */
export async function batchCounts(host: Host, batch: string): Promise<Counts> {
  const response = await fetch(`${host.url}/v1/batches/${batch}`)
  if (response.status === 404) {
    await response.body?.cancel()
    return { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0 }
  }
  return z.object({ counts: countsOfBatch }).parse(await response.json()).counts
}

export async function getJson(url: string): Promise<unknown> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${new URL(url).pathname} answered ${response.status}`)
  return response.json()
}

const countsSchema = z.record(z.string(), z.number())

const countsOfBatch = z.object({
  total: z.number(),
  waiting: z.number(),
  running: z.number(),
  succeeded: z.number(),
  failed: z.number(),
})
