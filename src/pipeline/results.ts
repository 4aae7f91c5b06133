import type { Job } from '../core/job.ts'
import { isFinal } from '../core/job.ts'
import { limits } from '../core/limits.ts'
import { resultLine } from '../core/result-line.ts'
import type { Darkroom } from './darkroom.ts'

/** Which jobs' results: those that succeeded, those that did not, or all that are finished. */
export type ResultPart = 'output' | 'errors' | 'all'

/** The finished jobs of a batch in the order of their keys, a page at a time; those that are running now are passed over. */
export async function* finishedJobs(room: Darkroom, batch: string, part: ResultPart): AsyncGenerator<Job> {
  let after: string | undefined
  for (;;) {
    const page = await room.jobs.list({ batch, after, limit: limits.recordsAtOnce, isBrief: true })
    for (const job of page) if (isFinal(job) && belongsTo(job, part)) yield job
    after = page.at(-1)?.key
    if (page.length < limits.recordsAtOnce || after === undefined) return
  }
}

function belongsTo({ phase }: Job, part: ResultPart): boolean {
  return part === 'all' || (phase.kind === 'succeeded') === (part === 'output')
}

/** Results as JSON lines, gathered into pieces of some size. */
export async function* resultLines(
  room: Darkroom,
  { batch, part, origin }: { readonly batch: string; readonly part: ResultPart; readonly origin: string },
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  let text = ''
  for await (const job of finishedJobs(room, batch, part)) {
    text += `${JSON.stringify(resultLine(job, origin))}\n`
    if (text.length < pieceChars) continue
    yield encoder.encode(text)
    text = ''
  }
  if (text !== '') yield encoder.encode(text)
}

/** Some hundred lines: fewer, larger writes. */
const pieceChars = 64 * 1024
