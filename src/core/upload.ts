import { timedId } from './timed-id.ts'

/** A part of an upload: bytes that wait under the name of their run. */
export type Part = { readonly id: string; readonly run: string; readonly sizeBytes: number }

/** Why parts do not make the file that an upload was made for. */
export type PartsFault =
  | { readonly kind: 'unknown-part'; readonly partId: string }
  | { readonly kind: 'repeated-part'; readonly partId: string }
  | { readonly kind: 'wrong-size'; readonly sizeBytes: number }

export type ChosenParts = {
  readonly kind: 'chosen'
  /** In the order in which the parts were named. */
  readonly runs: readonly string[]
  /** Of parts that were not named: some were sent twice. */
  readonly others: readonly string[]
}

/** The parts of an upload that make its file, in the order of their names; they must have its bytes together. */
export function choosePartsOf(
  upload: { readonly parts: readonly Part[]; readonly sizeBytes: number },
  partIds: readonly string[],
): ChosenParts | PartsFault {
  const known = new Set(upload.parts.map(({ id }) => id))
  const left = new Map(upload.parts.map((part) => [part.id, part]))
  const runs: string[] = []
  let sizeBytes = 0
  for (const partId of partIds) {
    const part = left.get(partId)
    if (part === undefined) return { kind: known.has(partId) ? 'repeated-part' : 'unknown-part', partId }
    left.delete(partId)
    runs.push(part.run)
    sizeBytes += part.sizeBytes
  }
  if (sizeBytes !== upload.sizeBytes) return { kind: 'wrong-size', sizeBytes }
  return { kind: 'chosen', runs, others: [...left.values()].map(({ run }) => run) }
}

/** The id of the file that an upload becomes: of the time when it is completed, and of the upload, whose name its content has. */
export function fileOfUpload(upload: string, completedAt: number): string {
  return timedId('file-', completedAt, `${uploadMark}${upload.slice('upload_'.length)}`)
}

/** The name under which a file's content is kept: the file's id, or that of the upload that it was. */
export function contentOfFile(file: string): string {
  const upload = /^file-0[0-9a-z]{8}z(0[0-9a-z]{9,40})$/.exec(file)?.[1]
  return upload === undefined ? file : `upload_${upload}`
}

/** No digit in hex, which is what stands there in the ids of all other files. */
const uploadMark = 'z'
