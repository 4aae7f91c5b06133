import type { Bench } from './bench.ts'
import { batches } from './parts/batches.ts'
import { cold } from './parts/cold.ts'
import { events } from './parts/events.ts'
import { intake } from './parts/intake.ts'
import { kill } from './parts/kill.ts'
import { memory } from './parts/memory.ts'
import { oneSecond } from './parts/one-second.ts'
import { operations } from './parts/operations.ts'
import { pace } from './parts/pace.ts'
import { pacer } from './parts/pacer.ts'
import { peersAt60, peersAt600 } from './parts/peers.ts'
import { poll } from './parts/poll.ts'
import { polls } from './parts/polls.ts'
import { results } from './parts/results.ts'
import { ticks } from './parts/ticks.ts'
import { uploads } from './parts/uploads.ts'
import { virtual } from './parts/virtual.ts'
import type { Report } from './report.ts'

export type Part = {
  /** As `--only` has it. */
  readonly name: string
  readonly run: (bench: Bench) => Promise<Report>
}

/** In the order of results.md; those of one line go on side by side. A part bounds its own time. */
export const steps: readonly (readonly Part[])[] = [
  [{ name: 'pace', run: pace }],
  [{ name: 'one-second', run: oneSecond }],
  // Both are nearly idle.
  [
    { name: 'peers-60', run: peersAt60 },
    { name: 'kill', run: kill },
  ],
  [{ name: 'peers-600', run: peersAt600 }],
  [{ name: 'intake', run: intake }],
  [{ name: 'batches', run: batches }],
  [{ name: 'uploads', run: uploads }],
  [{ name: 'results', run: results }],
  [{ name: 'operations', run: operations }],
  [{ name: 'poll', run: poll }],
  [{ name: 'polls', run: polls }],
  [{ name: 'events', run: events }],
  [{ name: 'virtual', run: virtual }],
  [{ name: 'ticks', run: ticks }],
  [{ name: 'pacer', run: pacer }],
  [{ name: 'memory', run: memory }],
  [{ name: 'cold', run: cold }],
]

export const parts: readonly Part[] = steps.flat()
