import { afterFailure } from '../../core/jobs/after-failure.ts'
import { failure, type Failure } from '../../core/jobs/failure.ts'
import { inputFacts, inputParam, inputsFault } from '../../core/requests/input-picture.ts'
import { inputBlobName, refsOf, type InputRef, type Inputs } from '../../core/requests/input-ref.ts'
import type { Job } from '../../core/jobs/job.ts'
import { fingerprint } from '../../core/fingerprint.ts'
import { limits } from '../../core/limits.ts'
import type { InputImage } from '../../ports/inputs.ts'
import type { JobRef, JobSnapshot } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'
import { missingText, readFile } from '../intake/inputs.ts'
import { changeJob } from '../jobs/change-job.ts'
import { giveBack, type RunOutcome } from './run-end.ts'

export type LoadedInputs =
  | { readonly kind: 'loaded'; readonly inputs: Inputs<InputImage> | undefined; readonly sizeBytes: number }
  /** This instance has as many images in hand as its memory allows. */
  | { readonly kind: 'full' }
  /** `invalid`: the job can never be right; `transient`: it may be later. */
  | { readonly kind: 'failed'; readonly failure: Failure }

/** Fetches what an edit starts from, whole, and checks it again: it may have changed since the job was taken. */
export async function loadInputs(context: Context, { job }: JobSnapshot): Promise<LoadedInputs> {
  const inputs = job.request?.inputs
  if (inputs === undefined) return { kind: 'loaded', inputs: undefined, sizeBytes: 0 }
  if (context.capacity.inputs.isFull()) return { kind: 'full' }
  const refs = refsOf(inputs)
  const got = await Promise.all(refs.map(async (ref, index) => load(context, { job, ref, index })))
  const found: { bytes: Uint8Array; sizeBytes: number }[] = []
  for (const [index, each] of got.entries()) {
    if ('failure' in each) {
      const { kind, code, message } = each.failure
      const param = inputParam(inputs.images.length, index)
      return { kind: 'failed', failure: failure(kind, code, `${param}: ${message}`) }
    }
    found.push(each)
  }
  return checked(context, job, { inputs, found })
}

/** The run ends here: nothing is sent. The slot is left unused. */
export async function endUnsent(
  context: Context,
  snapshot: JobSnapshot,
  loaded: Exclude<LoadedInputs, { kind: 'loaded' }>,
): Promise<RunOutcome> {
  if (loaded.kind === 'full') return giveBack(context, snapshot, 'inputs_full')
  const { failure: fault } = loaded
  const at = { now: context.clock.now(), chance: context.chance() }
  const change = await changeJob(context, snapshot, (job) => afterFailure(job, fault, context, at))
  if (change.kind !== 'changed') return { kind: 'stale' }
  const { code } = fault
  const { phase } = change.job
  return phase.kind === 'waiting' ? { kind: 'retried', code, dueAt: phase.dueAt } : { kind: 'failed', code }
}

type Found = { readonly bytes: Uint8Array; readonly sizeBytes: number }

function checked(
  context: Context,
  job: Job,
  { inputs, found }: { readonly inputs: Inputs; readonly found: readonly Found[] },
): LoadedInputs {
  const facts = found.map(inputFacts)
  const count = inputs.images.length
  const fault = inputsFault(
    { images: facts.slice(0, count), mask: facts[count] ?? null },
    context.inputFormatsOf(job.pool),
  )
  if (fault !== undefined) return { kind: 'failed', failure: failure('invalid', fault.code, fault.message) }
  const pictures = found.flatMap(({ bytes }, index): InputImage[] => {
    const picture = facts[index]?.picture
    return typeof picture === 'object' ? [{ bytes, format: picture.format }] : []
  })
  return {
    kind: 'loaded',
    inputs: { images: pictures.slice(0, count), mask: pictures[count] ?? null },
    sizeBytes: found.reduce((sum, { bytes }) => sum + bytes.length, 0),
  }
}

type Got = Found | { readonly failure: Failure }

async function load(
  context: Context,
  { job, ref, index }: { readonly job: JobRef; readonly ref: InputRef; readonly index: number },
): Promise<Got> {
  // One byte more than allowed tells that it is too much.
  const bytesMax = limits.inputImageBytesMax + 1
  switch (ref.kind) {
    case 'file': {
      // Whose it is was checked when the job came.
      const found = await readFile(context, ref.id, { bytesMax, owner: undefined })
      return found ?? { failure: failure('invalid', 'input_not_found', missingText(ref)) }
    }
    case 'blob': {
      const found = await context.inputs.read(ref.name, bytesMax)
      return found ?? { failure: failure('invalid', 'input_not_found', missingText(ref)) }
    }
    case 'url': {
      // Kept once it has come: every attempt starts from the same image, and a slow host is waited for once.
      const name = inputBlobName(job, { index, fingerprint: fingerprint(ref.url) })
      const kept = await context.inputs.read(name, bytesMax)
      if (kept !== undefined) return kept
      const fetched = await fetchFrom(context, ref.url)
      if (!('failure' in fetched)) await context.inputs.keep(name, fetched.bytes)
      return fetched
    }
  }
}

/** The address itself is not told: its query may hold a signature. */
async function fetchFrom({ fetchInput }: Pick<Context, 'fetchInput'>, url: string): Promise<Got> {
  const answer = await fetchInput({
    url,
    method: 'GET',
    timeoutMs: limits.inputFetchMsMax,
    bodyBytesMax: limits.inputImageBytesMax,
    redirectsMax: limits.inputRedirectsMax,
  })
  const host = URL.parse(url)?.host ?? 'the host'
  const cannot = (kind: 'invalid' | 'transient', what: string): Got => ({
    failure: failure(kind, kind === 'invalid' ? 'input_refused' : 'input_unreachable', `${host} ${what}`),
  })
  switch (answer.kind) {
    case 'refused':
      return cannot('invalid', `cannot be asked: the address ${answer.why}`)
    case 'failed':
      return answer.code === 'too_large'
        ? cannot('invalid', `sends more than ${limits.inputImageBytesMax} bytes`)
        : cannot('transient', `did not answer (${answer.code})`)
    case 'answer': {
      const { status, body } = answer
      if (status === 200) return { bytes: body, sizeBytes: body.length }
      const mayPass = status >= 500 || status === 408 || status === 429
      return cannot(mayPass ? 'transient' : 'invalid', `answered ${status}`)
    }
  }
}
