import type { Child } from '../src/local/child.ts'
import { runDarkroom, type DarkroomRun } from './darkroom-run.ts'
import { latencyMs, type Sizes } from './pace.ts'
import { untilDone } from './progress.ts'
import { decimal, percent, type Report } from './report.ts'
import { measure, type Measured } from './requests.ts'
import { World, type Deployment } from './world.ts'

/** In the order of the table; the names are those of peer-runners.ts, which only the peers' processes load. */
const names = [
  'openai in p-limit(10)',
  'p-queue, RPM per 60 s',
  'p-queue, 1 per spacing',
  'bottleneck, minTime = spacing',
  'bottleneck, reservoir per 60 s',
]

type PeerRun = Measured & {
  readonly name: string
  readonly rpm: number
  readonly jobs: number
  readonly isOver: boolean
}

/** The same jobs in the hands of the peers. `own` are Darkroom's runs; those that are missing are made. */
export async function peers(
  sizes: Sizes & { readonly limitMs: number },
  own: readonly DarkroomRun[],
): Promise<Report> {
  const rows: PeerRun[] = []
  for (const { rpm, jobs } of [
    { rpm: 60, jobs: sizes.jobsAt60 },
    { rpm: 600, jobs: sizes.jobsAt600 },
  ]) {
    const plan = { hosts: 1, rpm, jobs, latencyMs }
    const run = own.find((run) => run.hosts === 1 && run.rpm === rpm) ?? (await runDarkroom(plan))
    rows.push({ ...run, name: 'Darkroom, one host', isOver: true })
    rows.push(...(await runPeers({ rpm, jobs, limitMs: sizes.limitMs })))
  }
  return {
    title: 'Peers',
    method:
      'The same jobs, each runner with a simulated deployment of its own. The peers call through the `openai` package with its ' +
      'default of two retries, and are told exactly the RPM; those of one RPM run at the same time, for at most ' +
      `${decimal(sizes.limitMs / 60_000)} minutes. Repeated: requests beyond one a prompt that were not refused, so paid or ` +
      'possibly paid. Sent again: repeats of requests that were refused with 429.',
    tables: [
      {
        head: ['runner', 'RPM', 'finished', 'minutes', 'used', '429s', 'repeated', 'sent again'],
        rows: rows.map((run) => [
          run.name,
          String(run.rpm),
          `${run.finished} of ${run.jobs}${run.isOver ? '' : ' (cut off)'}`,
          decimal(run.minutes, 2),
          // A few accepted starts in a burst say nothing about a minute.
          run.finished === run.jobs ? percent(run.utilisation) : '-',
          String(run.throttled),
          String(run.repeated),
          String(run.sentAgain),
        ]),
      },
    ],
    gates: [],
    remarks: [],
  }
}

type Peer = {
  readonly name: string
  readonly deployment: Deployment
  readonly child: Child
  isOver: boolean
}

async function runPeers(plan: { rpm: number; jobs: number; limitMs: number }): Promise<readonly PeerRun[]> {
  const { rpm, jobs, limitMs } = plan
  await using world = new World()
  const started: Peer[] = []
  for (const name of names) {
    const deployment = await world.deployment({ rpm, latencyMs })
    const child = await world.child({
      path: 'bench/peer-command.ts',
      args: [name, deployment.endpoint, String(rpm), String(jobs)],
      env: {},
      ready: /^(peer: ready)$/,
    })
    const peer: Peer = { name, deployment, child, isOver: false }
    void child.ended.then(() => {
      peer.isOver = true
    })
    started.push(peer)
  }
  for (const { child } of started) child.send('go')
  const endsAt = performance.now() + limitMs
  await untilDone(
    { what: `peers at ${rpm} RPM`, total: names.length, everyMs: 1_000, limitMs: limitMs + 10_000 },
    async () => (performance.now() > endsAt ? names.length : started.filter(({ isOver }) => isOver).length),
  )
  return await Promise.all(
    started.map(async ({ name, deployment, isOver }) => {
      const log = await deployment.log()
      return { ...measure(log, rpm), name, rpm, jobs, isOver }
    }),
  )
}
