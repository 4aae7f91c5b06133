import type { Bench } from '../bench.ts'
import { batchCounts, putJobs } from '../jobs.ts'
import { getJson } from '../json.ts'
import { pause, untilDone } from '../progress.ts'
import { decimal, quantile, type Report } from '../report.ts'
import { World, type Host } from '../world.ts'
import { peakMib } from './batches.ts'

const rpm = 600
const streams = 200
const batch = 'followed'

/** What one stream was told. */
type Heard = { jobs: Set<string>; counts: number; isEnded: boolean }

export async function events({ isQuick }: Bench): Promise<Report> {
  const jobs = isQuick ? 60 : 300
  await using world = new World()
  const storage = await world.storage()
  const deployment = await world.deployment({ rpm, latencyMs: { min: 1_000, max: 3_000 } })
  const [host] = await world.hosts(1, { storage, deployment, rpm })
  if (host === undefined) throw new Error('there is no host')
  await putJobs(storage.connectionString, { batch, count: jobs })
  await untilDone(
    { what: 'events, registering', total: jobs, everyMs: 200, limitMs: 60_000 },
    async () => (await batchCounts(host, batch)).total,
  )
  const startedAt = performance.now()
  const heard = Array.from({ length: streams }, (): Heard => ({ jobs: new Set(), counts: 0, isEnded: false }))
  const following = Promise.all(heard.map(async (one) => follow(host, one)))
  const pollMs: number[] = []
  await untilDone({ what: 'events, jobs done', total: jobs, everyMs: 200, limitMs: 180_000 }, async () => {
    const askedAt = performance.now()
    await getJson(`${host.url}/v1/batches/${batch}`)
    pollMs.push(performance.now() - askedAt)
    return (await batchCounts(host, batch)).succeeded
  })
  await Promise.race([following, pause(30_000)])
  const seconds = (performance.now() - startedAt) / 1_000
  const whole = heard.filter((one) => one.jobs.size === jobs && one.isEnded).length
  const mostCounts = Math.max(...heard.map(({ counts }) => counts)) / seconds
  return {
    title: 'Live events',
    method:
      `${streams} event streams of one batch, open on one process while its ${jobs} jobs run at ${rpm} RPM; polls of the batch ` +
      'beside them.',
    tables: [
      {
        head: [
          'streams',
          'that heard of every job and the end',
          'counts a second',
          'poll median ms',
          'peak MiB',
        ],
        rows: [
          [
            String(streams),
            String(whole),
            decimal(mostCounts, 2),
            decimal(quantile(pollMs, 0.5), 1),
            decimal(await peakMib(host), 0),
          ],
        ],
      },
    ],
    gates: [
      {
        name: 'streams that heard of every job, once, and of the end',
        found: String(whole),
        wanted: String(streams),
        isPassed: whole === streams,
      },
      {
        name: 'counts a second on one stream',
        found: decimal(mostCounts, 2),
        wanted: 'at most 1',
        isPassed: mostCounts <= 1.05,
      },
    ],
    remarks: [],
  }
}

async function follow({ url }: Host, heard: Heard): Promise<void> {
  const response = await fetch(`${url}/v1/batches/${batch}/events`)
  if (!response.ok || response.body === null) throw new Error(`the events answered ${response.status}`)
  let text = ''
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const messages = text.split('\n\n')
    text = messages.pop() ?? ''
    for (const message of messages) {
      if (message.includes('event: counts')) heard.counts += 1
      if (message.includes('event: job')) heard.jobs.add(/"id":"([^"]+)"/.exec(message)?.[1] ?? '')
      if (message.includes('event: batch')) heard.isEnded = true
    }
  }
}
