import { loadAsAzure } from '../../test/support/azure-worker.ts'

/**
 * What a fresh worker takes from its start to its first answers: `node first-command.ts <entry file> health | work`, with
 * the settings in the environment. Says CPU and wall ms of loading, of the first answer, and of the one after it.
 */
const [entry = '', kind] = process.argv.slice(2)
/** For a job that there is not: a run without a slot to hold for. */
const work = { pool: 'default', quota: 'images', deployment: 'images', batch: 'none', key: 'none' }
const took: { readonly cpuMs: number; readonly wallMs: number }[] = []

const worker = await measured(async () => loadAsAzure(entry))
for (let answers = 0; answers < 2; answers += 1) {
  await measured(async () => {
    if (kind === 'work')
      return worker.deliver('image-work', { ...work, slotAt: 0, epoch: 0, wakeAt: Date.now() })
    const status = await worker.get('get-health', '/healthz')
    if (status !== 200) throw new Error(`/healthz answered ${status}`)
  })
}
// It is ended by whoever started it.
process.channel?.ref()
console.log(`first: ${JSON.stringify(took)}`)

async function measured<Result>(run: () => Promise<Result>): Promise<Result> {
  const startedAt = performance.now()
  const before = process.cpuUsage()
  const result = await run()
  const { user, system } = process.cpuUsage(before)
  took.push({ cpuMs: (user + system) / 1_000, wallMs: performance.now() - startedAt })
  return result
}
