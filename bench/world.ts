import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { startChild, type Child, type Command } from '../src/local/child.ts'
import type { DeploymentOptions } from '../src/local/deployment/deployment.ts'
import { startHostProcess, startStorageProcess } from '../src/local/processes.ts'
import { getJson } from './json.ts'
import type { LoggedRequest } from './requests.ts'
import { apiKey, apiVersion, deploymentName } from './work.ts'

export type Storage = {
  readonly connectionString: string
  /** Operations by kind since the last call; empty where nobody counts. */
  takeCounts(): Promise<Readonly<Record<string, number>>>
}

export type Deployment = { readonly endpoint: string; log(): Promise<readonly LoggedRequest[]> }

/** `readyAt` is a time of `performance.now()`. */
export type Host = { readonly url: string; readonly child: Child; readonly readyAt: number }

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

  async deployment(options: DeploymentOptions): Promise<Deployment> {
    const [deployment] = await this.deployments([options])
    if (deployment === undefined) throw new Error('there is no deployment')
    return deployment
  }

  /** Deployments that share one process: enough for some that are asked a few times a second. */
  async deployments(options: readonly DeploymentOptions[]): Promise<readonly Deployment[]> {
    const all = options.map((one) => ({
      pictures: 'plain' as const,
      apiKey,
      deployment: deploymentName,
      apiVersions: [apiVersion],
      ...one,
    }))
    const child = this.#stack.use(
      await startChild({
        path: 'bench/deployments-command.ts',
        args: [JSON.stringify(all)],
        ready: /^deployments: ready (.*)$/,
      }),
    )
    return z
      .array(z.string())
      .parse(JSON.parse(child.said))
      .map((endpoint) => ({
        endpoint,
        log: async () => logSchema.parse(await getJson(`${endpoint}/__log`)),
      }))
  }

  /** Hosts, each a process with its settings in the environment, as instances on Azure have them. */
  async hosts(count: number, options: HostOptions): Promise<readonly Host[]> {
    const hosts = await Promise.all(Array.from({ length: count }, async () => startHost(options)))
    for (const { child } of hosts) this.#stack.use(child)
    return hosts
  }

  async child(command: Command): Promise<Child> {
    return this.#stack.use(await startChild(command))
  }

  /** A folder that goes with the world. */
  async folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'darkroom-bench-'))
    folders.add(path)
    this.#stack.defer(async () => {
      folders.delete(path)
      await rm(path, { recursive: true, force: true })
    })
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

/** Those of worlds that are still open when the benchmark is ended. */
const folders = new Set<string>()
process.on('exit', () => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

export type HostOptions = {
  readonly storage: Storage
  readonly deployment: Pick<Deployment, 'endpoint'>
  readonly rpm: number
  readonly isUrgent?: boolean
}

async function startHost({ storage, deployment, ...options }: HostOptions): Promise<Host> {
  const { connectionString } = storage
  const child = await startHostProcess({ connectionString, endpoint: deployment.endpoint, ...options })
  return { url: child.said, child, readyAt: child.readyAt }
}

const countsSchema = z.record(z.string(), z.number())

const logSchema = z.array(
  z.object({
    receivedAt: z.number(),
    answeredAt: z.number().nullable(),
    status: z.union([z.number(), z.string()]),
    prompt: z.string().nullable(),
    outcome: z.string(),
    billed: z.boolean(),
  }),
) satisfies z.ZodType<readonly LoggedRequest[]>
