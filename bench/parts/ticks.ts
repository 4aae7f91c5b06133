import { z } from 'zod'
import type { Bench } from '../bench.ts'
import { untilDone } from '../progress.ts'
import { decimal, quantile, type Gate, type Report } from '../report.ts'
import type { TickCost } from '../ticks/tick-cost.ts'
import { World } from '../world.ts'

const batchCounts = [1, 10, 100, 1_000]
const jobCounts = [1_000, 10_000, 100_000, 1_000_000]
const ticksMeasured = 10
/** A million rows take a while to be laid out. */
const cellLimitMs = 180_000

/** A tick comes every five seconds: this is a hundredth of one core. */
const cpuMaxMs = 50

type Cell = { readonly batches: number; readonly jobs: number; readonly costs: readonly TickCost[] }

export async function ticks({ isQuick }: Bench): Promise<Report> {
  const columns = isQuick ? jobCounts.slice(0, 2) : jobCounts
  const wanted = batchCounts.flatMap((batches) => columns.map((jobs) => ({ batches, jobs })))
  const cells: Cell[] = []
  const rest = wanted.values()
  await untilDone(
    { what: 'ticks', total: wanted.length, everyMs: 0, limitMs: cellLimitMs * wanted.length },
    async () => {
      const cell = rest.next().value
      if (cell !== undefined) cells.push({ ...cell, costs: await costsOf(cell) })
      return cells.length
    },
  )
  const tableOf = (
    title: string,
    shown: (costs: readonly TickCost[]) => string,
  ): Report['tables'][number] => ({
    title,
    head: ['active batches', ...columns.map((jobs) => `${jobs.toLocaleString('en')} waiting`)],
    rows: batchCounts.map((batches) => [
      batches.toLocaleString('en'),
      ...cells.filter((cell) => cell.batches === batches).map(({ costs }) => shown(costs)),
    ]),
  })
  return {
    title: 'Ticks',
    method:
      'Ticks of the pacer at 600 RPM on tables in memory, with the real job and budget tables above them and virtual time; ' +
      `${ticksMeasured} ticks a cell after the first few have filled the horizon. CPU is that of the thread without the tables' ` +
      'own. Operations: of both tables, and messages sent; a tick gives some 49 slots, each with a message.',
    tables: [
      tableOf('CPU ms a tick, median', (costs) => decimal(medianOf(costs, 'cpuMs'), 2)),
      tableOf('Operations a tick, median', (costs) => decimal(medianOf(costs, 'operations'), 0)),
    ],
    gates: gatesOf(cells, columns),
    remarks: [],
  }
}

/** What is waiting must not matter at all; what is active may, within the slots that a tick gives. */
function gatesOf(cells: readonly Cell[], columns: readonly number[]): readonly Gate[] {
  const [fewest = 0, most = 0] = [columns[0], columns.at(-1)]
  const costsAt = (batches: number, jobs: number): readonly TickCost[] =>
    cells.find((cell) => cell.batches === batches && cell.jobs === jobs)?.costs ?? []
  const ratios = batchCounts.map(
    (batches) =>
      medianOf(costsAt(batches, most), 'operations') / medianOf(costsAt(batches, fewest), 'operations'),
  )
  const worst = Math.max(...ratios)
  const dearest = Math.max(...cells.map(({ costs }) => medianOf(costs, 'cpuMs')))
  return [
    {
      name: `operations a tick, ${most.toLocaleString('en')} jobs waiting over ${fewest.toLocaleString('en')}`,
      found: `${decimal(worst, 2)} times`,
      wanted: 'no more (within 1.05 times)',
      isPassed: worst <= 1.05,
    },
    {
      name: 'CPU of a tick in the dearest cell',
      found: `${decimal(dearest)} ms`,
      wanted: `at most ${cpuMaxMs} ms`,
      isPassed: dearest <= cpuMaxMs,
    },
  ]
}

const costsSchema = z.array(z.object({ cpuMs: z.number(), operations: z.number(), slots: z.number() }))

async function costsOf({ batches, jobs }: Omit<Cell, 'costs'>): Promise<readonly TickCost[]> {
  await using world = new World()
  const child = await world.child({
    path: 'bench/ticks/ticks-command.ts',
    args: [batches, jobs, ticksMeasured].map(String),
    // The rows of a million jobs, and a collector that seldom has to look at them.
    nodeArgs: ['--max-old-space-size=6144', '--max-semi-space-size=64'],
    ready: /^(ticks: ready)$/,
  })
  return costsSchema.parse(await child.ask('go', cellLimitMs))
}

function medianOf(costs: readonly TickCost[], what: keyof TickCost): number {
  return quantile(
    costs.map((cost) => cost[what]),
    0.5,
  )
}
