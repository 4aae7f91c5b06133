import { readDestination, type HostPattern } from '../destination.ts'
import { isRecord } from '../json.ts'
import { limits } from '../limits.ts'

/** Where an image is that an edit starts from. */
export type InputRef =
  /** One that was sent to POST /v1/files. */
  | { readonly kind: 'file'; readonly id: string }
  /** One in the container of inputs. */
  | { readonly kind: 'blob'; readonly name: string }
  /** One at a host that the operator allows. */
  | { readonly kind: 'url'; readonly url: string }

/** As it comes with a job, an image may be inside it. It is kept as a blob before the job is. */
export type AskedRef = InputRef | { readonly kind: 'data'; readonly bytes: Uint8Array }

/** What an edit is made of. The mask belongs to the first image. */
export type Inputs<Ref = InputRef> = { readonly images: readonly Ref[]; readonly mask: Ref | null }

type ReadRef =
  | { readonly kind: 'ref'; readonly ref: AskedRef }
  /** `shown`: as much of it as may be quoted. */
  | { readonly kind: 'fault'; readonly shown: unknown; readonly wanted: string }

export const inputContainer = 'inputs'

const refForms = `a file id, the name of a blob in the container ${inputContainer}, a data URL, or an https address`

/** Undefined where the text is no base64, with or without its padding. */
export type DecodeBase64 = (base64: string) => Uint8Array | undefined

/** `hosts` are those of the setting INPUT_HOSTS. */
export type InputRules = { readonly hosts: readonly HostPattern[]; readonly decodeBase64: DecodeBase64 }

/**
 * A reference as users write it: a text, or an object with either `image_url` or `file_id`, as OpenAI has it.
 */
export function readRef(value: unknown, rules: InputRules): ReadRef {
  if (typeof value === 'string') return readText(value, rules)
  if (!isRecord(value)) return fault(value, refForms)
  const [[name, text] = ['', undefined], another] = Object.entries(value)
  if (typeof text === 'string' && another === undefined) {
    if (name === 'file_id' && isFileId(text)) return readText(text, rules)
    if (name === 'image_url' && /^(?:data|https):/i.test(text)) return readText(text, rules)
  }
  return fault(
    value,
    'an object with either a file_id (file-…), or an image_url (a data URL, or an https address)',
  )
}

/** A reference as users wrote it. */
export function refText(ref: InputRef): string {
  switch (ref.kind) {
    case 'file':
      return ref.id
    case 'blob':
      return ref.name
    case 'url':
      return ref.url
  }
}

/** All of them, the mask last. */
export function refsOf<Ref>({ images, mask }: Inputs<Ref>): readonly Ref[] {
  return mask === null ? images : [...images, mask]
}

/** How many images are sent along with a request, its mask too. */
export function inputCount({ inputs }: { readonly inputs?: Inputs<unknown> | undefined }): number {
  return inputs === undefined ? 0 : refsOf(inputs).length
}

export function isSameInputs(a: Inputs | undefined, b: Inputs | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return JSON.stringify(written(a)) === JSON.stringify(written(b))
}

function written({ images, mask }: Inputs): readonly unknown[] {
  return [images.map(refText), mask && refText(mask)]
}

/** The blob that an image of a job is kept in; `index` is its place, the mask's is behind the images. */
export function inputBlobName(
  job: { readonly batch: string; readonly key: string },
  { index, fingerprint }: { readonly index: number; readonly fingerprint: string },
): string {
  // What it is made of is in the name: sent again with another image, the job meets its old one untouched.
  return `${keptPrefix}${job.batch}/${job.key}-in-${index}-${fingerprint}`
}

/** The job that an image was kept for; undefined for a name that `inputBlobName` does not give. */
export function jobOfInput(name: string): { readonly batch: string; readonly key: string } | undefined {
  const [, batch, key] = /^~kept\/([^/]+)\/([^/]+)-in-\d+-[0-9a-f]+$/.exec(name) ?? []
  return batch === undefined || key === undefined ? undefined : { batch, key }
}

/**
 * Where images of jobs are kept. No reference may point there: whoever knows another key's batch and the address of its
 * image could otherwise guess the name.
 */
export const keptPrefix = '~kept/'

function readText(text: string, { hosts, decodeBase64 }: InputRules): ReadRef {
  if (/^data:/i.test(text)) return readDataUrl(text, decodeBase64)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return readAddress(text, hosts)
  if (isFileId(text)) return { kind: 'ref', ref: { kind: 'file', id: text } }
  if (text.startsWith(keptPrefix)) {
    return fault(
      text,
      `names that do not begin with ${keptPrefix}, where images of jobs are kept; send the image itself`,
    )
  }
  return isBlobName(text) ? { kind: 'ref', ref: { kind: 'blob', name: text } } : fault(text, refForms)
}

function readAddress(text: string, hosts: readonly HostPattern[]): ReadRef {
  const at = readDestination(text, { hosts, trusted: [] })
  if (at.kind === 'destination') return { kind: 'ref', ref: { kind: 'url', url: at.url.href } }
  const named = hosts.map(({ name, isSuffix, port }) => `${isSuffix ? '*.' : ''}${name}${port && `:${port}`}`)
  const allowed = named.length === 0 ? 'it names none' : named.join(', ')
  return fault(
    withoutSecrets(text),
    `https addresses at the hosts of the setting INPUT_HOSTS (${allowed}); this one ${at.why}`,
  )
}

function readDataUrl(text: string, decodeBase64: DecodeBase64): ReadRef {
  const head = /^data:image\/[a-z0-9.+-]+;base64,/i.exec(text.slice(0, dataHeadCharsMax))?.[0]
  const shown = `${text.slice(0, Math.min(dataHeadCharsMax, head?.length ?? 5))}… (${text.length} characters)`
  if (head === undefined) return fault(shown, 'data URLs that begin with data:image/png;base64, or the like')
  const base64 = text.slice(head.length)
  if ((base64.length * 3) / 4 > limits.inputImageBytesMax) {
    return fault(shown, `images of at most ${limits.inputImageBytesMax} bytes`)
  }
  const bytes = decodeBase64(base64)
  return bytes === undefined
    ? fault(shown, 'base64 behind the comma')
    : { kind: 'ref', ref: { kind: 'data', bytes } }
}

/** `data:image/svg+xml;base64,` and its like are shorter. */
const dataHeadCharsMax = 60

/** Names of files have a dot, as a rule; ids have none. */
function isFileId(text: string): boolean {
  return /^file-[A-Za-z0-9_-]{1,100}$/.test(text)
}

/** Segments of dots would lead out of the container, whatever client builds the address. */
function isBlobName(text: string): boolean {
  return (
    text.length > 0 &&
    text.length <= limits.inputNameCharsMax &&
    text.isWellFormed() &&
    !/[\p{Cc}\p{Zl}\p{Zp}\\]/u.test(text) &&
    text.split('/').every((segment) => !['', '.', '..'].includes(segment))
  )
}

/** Signatures and tokens stand in the query, passwords before the host. */
function withoutSecrets(address: string): string {
  return address.replace(/[?#].*$/s, '').replace(/^([^/]+:\/\/)[^/]*@/, '$1…@')
}

function fault(shown: unknown, wanted: string): ReadRef {
  return { kind: 'fault', shown, wanted }
}
