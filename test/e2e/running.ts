import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { BlobServiceClient, type ContainerClient } from '@azure/storage-blob'
import { QueueServiceClient, type QueueClient } from '@azure/storage-queue'
import { startAzurite } from '../../src/local/azurite/azurite.ts'
import {
  startDeployment,
  type DeploymentOptions,
  type SimulatedDeployment,
} from '../../src/local/deployment/deployment.ts'

const rootDir = join(import.meta.dirname, '../..')

/** One Azurite of its own, one simulated deployment, and as many instances of the real functions as asked for. */
export type Running = {
  readonly deployment: SimulatedDeployment
  /** Of its storage. */
  readonly connectionString: string
  readonly queue: (name: string) => QueueClient
  readonly container: (name: string) => ContainerClient
  readonly instances: readonly Instance[]
  /** `fetch` on the first instance. */
  get(path: string): Promise<{ status: number; headers: Headers; body: any }>
  post(
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; headers: Headers; body: any }>
  startInstance(): Promise<Instance>
  stop(): Promise<void>
}

export type Instance = {
  readonly url: string
  readonly lines: readonly string[]
  readonly process: ChildProcess
  /** The process that runs its functions. */
  workerPid(): Promise<number>
}

export async function run(options: {
  deployment?: DeploymentOptions
  rpm: number
  instances?: number
  settings?: Record<string, string>
}): Promise<Running> {
  const azurite = await startAzurite({})
  const deployment = await startDeployment({
    rpm: options.rpm,
    latencyMs: { min: 50, max: 200 },
    pictures: 'plain',
    ...options.deployment,
  })
  const queues = QueueServiceClient.fromConnectionString(azurite.connectionString)
  const instances: Instance[] = []

  async function startInstance(): Promise<Instance> {
    const child = spawn(process.execPath, ['src/local/host-command.ts'], {
      cwd: rootDir,
      env: {
        PATH: process.env['PATH'],
        PORT: '0',
        LOG_FORMAT: 'json',
        AzureWebJobsStorage: azurite.connectionString,
        AZURE_OPENAI_ENDPOINT: deployment.endpoint,
        AZURE_OPENAI_API_KEY: deployment.apiKey,
        IMAGE_RPM: String(options.rpm),
        ...options.settings,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    const lines: string[] = []
    const url = await new Promise<string>((resolve, reject) => {
      const read = (line: string): void => {
        lines.push(line)
        const ready = /^darkroom: ready on (\S+)$/.exec(line)?.[1]
        if (ready !== undefined) resolve(ready)
      }
      createInterface({ input: child.stdout! }).on('line', read)
      createInterface({ input: child.stderr! }).on('line', read)
      child.once('exit', (code) => reject(new Error(`the host ended with ${code}:\n${lines.join('\n')}`)))
    })
    const workerPid = async (): Promise<number> => {
      const answered: Promise<{ pid: number }[]> = once(child, 'message')
      child.send('worker')
      const [{ pid } = { pid: 0 }] = await answered
      return pid
    }
    const instance = { url, lines, process: child, workerPid }
    instances.push(instance)
    return instance
  }

  async function call(path: string, init: RequestInit = {}) {
    const response = await fetch(new URL(path, instances[0]?.url), init)
    const isJson = response.headers.get('content-type')?.includes('json') ?? false
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? await response.json() : new Uint8Array(await response.arrayBuffer()),
    }
  }

  for (let count = 0; count < (options.instances ?? 1); count += 1) await startInstance()

  return {
    deployment,
    connectionString: azurite.connectionString,
    queue: (name) => queues.getQueueClient(name),
    container: (name) =>
      BlobServiceClient.fromConnectionString(azurite.connectionString).getContainerClient(name),
    instances,
    get: async (path) => call(path),
    post: async (path, body, headers = {}) =>
      call(path, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) }),
    startInstance,
    async stop() {
      await Promise.all(
        instances.map(async ({ process: child }) => {
          if (child.exitCode !== null || child.signalCode !== null) return
          // As Ctrl-C does.
          child.kill('SIGINT')
          await once(child, 'exit')
        }),
      )
      await deployment.stop()
      await azurite.stop()
    },
  }
}
