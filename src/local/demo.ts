import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { QueueServiceClient } from '@azure/storage-queue'
import { SingleBar } from 'cli-progress'
import { z } from 'zod'
import { settingNames } from '../settings.ts'
import { queueNames } from '../storage/queues.ts'
import { startAzurite } from './azurite/azurite.ts'
import { demoPrompts } from './demo-prompts.ts'
import { startDeployment } from './deployment/deployment.ts'
import { CommandError, rootDir, runCommand, startInstance } from './instance.ts'
import { useSimulated } from './simulated.ts'

const batch = 'demo'
const outputDir = join(rootDir, 'demo-output')
const rpm = 120
/** A queue that has not come to its end by then never will. */
const limitMs = 180_000

/** `npm run demo`: all of it on this machine, from prompts on a queue to pictures in a folder. */
async function demo(): Promise<void> {
  for (const name of settingNames) delete process.env[name]
  const azurite = await startAzurite({})
  const deployment = await startDeployment({ rpm })
  process.env['AzureWebJobsStorage'] = azurite.connectionString
  process.env['IMAGE_RPM'] = String(rpm)
  useSimulated(deployment.endpoint, deployment.apiKey)
  const troubles: string[] = []
  const host = await startInstance({ port: 0 }, (line) => {
    if (/^\[(error|critical)\]/.test(line)) troubles.push(line)
  })
  console.log(`darkroom: ${demoPrompts.length} prompts to a simulated deployment of ${rpm} requests a minute`)
  await rm(outputDir, { recursive: true, force: true })
  await mkdir(outputDir, { recursive: true })
  await putOnQueue(azurite.connectionString)
  const { counts, saved } = await watch(host.url)
  await host.stop({ graceMs: 5_000 })
  await deployment.stop()
  await azurite.stop()
  for (const line of troubles) console.error(line)
  console.log(
    `demo: ${demoPrompts.length} jobs, ${counts.succeeded} succeeded, ${counts.failed} failed, ${saved} images in demo-output/`,
  )
  const isDone =
    counts.succeeded === demoPrompts.length && counts.failed === 0 && saved === demoPrompts.length
  process.exit(isDone ? 0 : 1)
}

/** As any producer would: plain JSON, any Azure Storage client. */
async function putOnQueue(connectionString: string): Promise<void> {
  const queue = QueueServiceClient.fromConnectionString(connectionString).getQueueClient(queueNames.jobs)
  await queue.createIfNotExists()
  await Promise.all(
    demoPrompts.map(async (prompt, index) =>
      queue.sendMessage(JSON.stringify({ ...prompt, custom_id: customId(index), batch, quality: 'medium' })),
    ),
  )
}

const batchSchema = z.object({
  counts: z.object({
    total: z.number(),
    waiting: z.number(),
    running: z.number(),
    succeeded: z.number(),
    failed: z.number(),
  }),
  rate_per_minute: z.number(),
  estimated_finish_at: z.number().nullable(),
})

const jobSchema = z.object({
  images: z.array(z.object({ url: z.string(), content_type: z.string() })),
  failure: z.object({ kind: z.string(), code: z.string(), message: z.string() }).nullable(),
})

type Counts = z.infer<typeof batchSchema>['counts']

/** Polls as a user would, shows how it goes, and saves each picture as soon as it is there. */
async function watch(url: string): Promise<{ counts: Counts; saved: number }> {
  const bar = new SingleBar({
    format:
      '{bar} {value} of {total} done, {running} running, {waiting} waiting, {failed} failed, {rate}/min, {left} left',
    barsize: 24,
    hideCursor: true,
    noTTYOutput: true,
    notTTYSchedule: 2_000,
  })
  const unsaved = new Set(demoPrompts.map((_, index) => customId(index)))
  let counts: Counts = { total: 0, waiting: 0, running: 0, succeeded: 0, failed: 0 }
  bar.start(demoPrompts.length, 0, {
    running: 0,
    waiting: demoPrompts.length,
    failed: 0,
    rate: 0,
    left: '? s',
  })
  const endsAt = Date.now() + limitMs
  while (Date.now() < endsAt && counts.succeeded + counts.failed < demoPrompts.length) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const response = await fetch(`${url}/v1/batches/${batch}`)
    if (response.status === 404) continue
    const body: unknown = await response.json()
    if (!response.ok) throw new CommandError(refusalText(response.status, body))
    const status = batchSchema.parse(body)
    counts = status.counts
    const left = status.estimated_finish_at === null ? 0 : status.estimated_finish_at - Date.now() / 1_000
    bar.update(counts.succeeded + counts.failed, {
      running: counts.running,
      waiting: demoPrompts.length - counts.succeeded - counts.failed - counts.running,
      failed: counts.failed,
      rate: status.rate_per_minute,
      left: `${Math.max(0, Math.round(left))} s`,
    })
    for (const id of unsaved) if (await save(url, id)) unsaved.delete(id)
  }
  bar.stop()
  for (const id of unsaved) {
    const { failure } = await getJob(url, id)
    console.error(
      `job ${id}: ${failure === null ? 'unfinished' : `${failure.kind} (${failure.code}): ${failure.message}`}`,
    )
  }
  return { counts, saved: demoPrompts.length - unsaved.size }
}

const errorSchema = z.object({ error: z.object({ message: z.string() }) })

function refusalText(status: number, body: unknown): string {
  const { data } = errorSchema.safeParse(body)
  return `demo: the service answered ${status}: ${data?.error.message ?? JSON.stringify(body)}`
}

async function getJob(url: string, id: string): Promise<z.infer<typeof jobSchema>> {
  const response = await fetch(`${url}/v1/jobs/${batch}.${id}`)
  return response.ok ? jobSchema.parse(await response.json()) : { images: [], failure: null }
}

async function save(url: string, id: string): Promise<boolean> {
  const [image] = (await getJob(url, id)).images
  if (image === undefined) return false
  const extension = image.content_type === 'image/jpeg' ? 'jpg' : 'png'
  const picture = await fetch(image.url)
  await writeFile(join(outputDir, `${id}.${extension}`), picture.body ?? '')
  return picture.ok
}

function customId(index: number): string {
  return String(index + 1).padStart(2, '0')
}

await runCommand(
  'npm run demo: 24 prompts from queue to pictures, on this machine, which costs nothing.',
  demo,
)
