import { inputFacts, inputParam, inputsFault, type InputFacts } from '../../core/requests/input-picture.ts'
import {
  inputBlobName,
  inputContainer,
  refsOf,
  type AskedRef,
  type InputRef,
} from '../../core/requests/input-ref.ts'
import { limits } from '../../core/limits.ts'
import { promiseCache, type PromiseCache } from '../../core/promise-cache.ts'
import type { AskedRequest, ImageRequest, Submission } from '../../core/requests/submission.ts'
import type { SubmissionFault } from '../../core/requests/submission-fault.ts'
import type { InputStore } from '../../ports/inputs.ts'
import type { JobRef } from '../../ports/jobs.ts'
import type { Context } from '../context.ts'

/** What was seen of inputs while many jobs were checked: a batch may name one mask a hundred thousand times. */
type InputsSeen = PromiseCache<InputFacts | undefined>

export const noInputsSeen = (): InputsSeen => promiseCache({ entriesMax: limits.inputsSeenMax })

/**
 * What is wrong with the images that an edit starts from, as far as it can be seen at once: those of other hosts are
 * seen by the worker. `owner` is the key whose files may be used; undefined: anybody's.
 */
export async function checkInputs(
  context: Context,
  { pool, request }: Pick<Submission, 'pool' | 'request'>,
  { owner, seen = noInputsSeen() }: { readonly owner: string | null | undefined; readonly seen?: InputsSeen },
): Promise<SubmissionFault | undefined> {
  const { inputs } = request
  if (inputs === undefined) return undefined
  const refs = refsOf(inputs)
  const found: InputFacts[] = []
  for (const [index, ref] of refs.entries()) {
    const facts = await seenFacts(context, ref, { owner, seen })
    if (facts === undefined) return notFound(inputParam(inputs.images.length, index), ref)
    found.push(facts)
  }
  const images = found.slice(0, inputs.images.length)
  const mask = found[inputs.images.length] ?? null
  return inputsFault({ images, mask }, context.inputFormatsOf(pool))
}

/** Images that came inside the job are kept as blobs, under names of its own: its record holds only references. */
export async function keepInputs(
  context: Context,
  job: JobRef,
  request: AskedRequest,
): Promise<ImageRequest> {
  const { request: named, kept } = await withNames(context, job, request)
  await Promise.all(kept.map(async ({ name, bytes }) => context.inputs.keep(name, bytes)))
  return named
}

/** The request as its record holds it, and the blobs that belong to it. */
export async function withNames(
  context: { readonly inputs: Pick<InputStore, 'fingerprint'> },
  job: JobRef,
  { inputs, ...parameters }: AskedRequest,
): Promise<{
  readonly request: ImageRequest
  readonly kept: readonly { readonly name: string; readonly bytes: Uint8Array }[]
}> {
  if (inputs === undefined) return { request: parameters, kept: [] }
  const kept: { name: string; bytes: Uint8Array }[] = []
  const named = async (ref: AskedRef, index: number): Promise<InputRef> => {
    if (ref.kind !== 'data') return ref
    const { bytes } = ref
    const name = inputBlobName(job, { index, fingerprint: await context.inputs.fingerprint(bytes) })
    kept.push({ name, bytes })
    return { kind: 'blob', name }
  }
  const images = await Promise.all(inputs.images.map(named))
  const mask = inputs.mask && (await named(inputs.mask, images.length))
  return { request: { ...parameters, inputs: { images, mask } }, kept }
}

function notFound(param: string, ref: AskedRef): SubmissionFault {
  return { param, code: 'input_not_found', message: `${param}: ${missingText(ref)}` }
}

/** Somebody else's file is told as one that is not there. */
export function missingText(ref: AskedRef): string {
  switch (ref.kind) {
    case 'file':
      return `there is no file ${ref.id}`
    case 'blob':
      return `there is no blob ${JSON.stringify(ref.name)} in the container ${inputContainer}`
    case 'url':
    case 'data':
      return 'there is no such image'
  }
}

async function seenFacts(
  context: Context,
  ref: AskedRef,
  { owner, seen }: { readonly owner: string | null | undefined; readonly seen: InputsSeen },
): Promise<InputFacts | undefined> {
  switch (ref.kind) {
    case 'data':
      return inputFacts({ bytes: ref.bytes, sizeBytes: ref.bytes.length })
    case 'url':
      return { sizeBytes: 0, picture: 'unknown' }
    case 'file':
    case 'blob': {
      const key = JSON.stringify([ref, owner ?? null, owner === undefined])
      return seen.get(key, async () => lookAt(context, ref, owner))
    }
  }
}

async function lookAt(
  context: Context,
  ref: Extract<InputRef, { kind: 'file' | 'blob' }>,
  owner: string | null | undefined,
): Promise<InputFacts | undefined> {
  const bytesMax = limits.inputHeadBytesMax
  const head =
    ref.kind === 'blob'
      ? await context.inputs.read(ref.name, bytesMax)
      : await readFile(context, ref.id, { bytesMax, owner })
  return head && inputFacts(head)
}

/** The first bytes of a file, and its size; undefined when it is gone, or another's. */
export async function readFile(
  { files }: Pick<Context, 'files'>,
  id: string,
  { bytesMax, owner }: { readonly bytesMax: number; readonly owner: string | null | undefined },
): ReturnType<InputStore['read']> {
  const file = await files.get(id)
  if (file === undefined || (owner !== undefined && file.owner !== owner)) return undefined
  const { sizeBytes } = file
  const content = await files.read(id, { from: 0, before: Math.min(sizeBytes, bytesMax) })
  if (content === undefined) return undefined
  const bytes = new Uint8Array(Math.min(sizeBytes, bytesMax))
  let at = 0
  for await (const chunk of content) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return { bytes, sizeBytes }
}
