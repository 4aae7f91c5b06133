import { imageSize } from 'image-size'
import type { Inputs } from './input-ref.ts'
import { limits } from '../limits.ts'
import type { SubmissionFault } from './submission-fault.ts'

export type PictureFormat = 'png' | 'jpeg' | 'webp'

/** What the bytes of an image tell of it. */
export type PictureFacts = {
  readonly format: PictureFormat
  readonly width: number
  readonly height: number
  /** Whether a PNG can have transparent areas. */
  readonly hasAlpha: boolean
}

/**
 * Facts of one input. `picture` is undefined where it is no image that we know, `unknown` while nobody has seen it, and
 * `cut` where its end is missing.
 */
export type InputFacts = {
  readonly sizeBytes: number
  readonly picture: PictureFacts | 'unknown' | 'cut' | undefined
}

/**
 * Reads the facts from all of an image, or from its beginning; `unknown` when that was too little. Told by its own
 * bytes: names and content types are anybody's guess.
 */
export function inputFacts({
  bytes,
  sizeBytes,
}: {
  readonly bytes: Uint8Array
  readonly sizeBytes: number
}): InputFacts {
  const format = formatOf(bytes)
  if (format === undefined) return { sizeBytes, picture: undefined }
  const size = sizeOf(bytes)
  const whenOpen = bytes.length < sizeBytes ? 'unknown' : undefined
  if (whenOpen === undefined && size !== undefined && !hasEnd[format](bytes))
    return { sizeBytes, picture: 'cut' }
  if (size === undefined) return { sizeBytes, picture: whenOpen }
  const hasAlpha = format === 'png' ? pngHasAlpha(bytes) : false
  // Its transparency may be told further on than was read.
  if (hasAlpha === undefined && whenOpen !== undefined) return { sizeBytes, picture: whenOpen }
  return { sizeBytes, picture: { format, ...size, hasAlpha: hasAlpha ?? false } }
}

/** What is wrong with the inputs of an edit, before anything is spent; the first fault is enough to act on. */
export function inputsFault(
  { images, mask }: Inputs<InputFacts>,
  formats: readonly string[],
): SubmissionFault | undefined {
  for (const [index, facts] of images.entries()) {
    const fault = imageFault(facts, formats)
    if (fault !== undefined) return told(inputParam(images.length, index), fault)
  }
  const fault = mask === null ? undefined : maskFault(mask, images[0])
  if (fault !== undefined) return told('mask', fault)
  const bytes = [...images, ...(mask === null ? [] : [mask])].reduce((sum, each) => sum + each.sizeBytes, 0)
  const bytesMax = limits.inputsOfJobBytesMax
  if (bytes <= bytesMax) return undefined
  const wanted = `at most ${bytesMax} bytes`
  return told('image', { code: 'image_too_large', got: `${bytes} bytes together`, wanted })
}

/** The field of one of so many images; the place behind them is the mask's. */
export function inputParam(images: number, index: number): string {
  if (index === images) return 'mask'
  return images === 1 ? 'image' : `image.${index}`
}

function told(param: string, { code, got, wanted }: InputFault): SubmissionFault {
  return { param, code, message: `${param}: got ${got}; allowed: ${wanted}` }
}

type InputFault = {
  readonly code: 'invalid_image' | 'image_too_large' | 'invalid_mask'
  readonly got: string
  readonly wanted: string
}

/** Source: image API reference 3.2 and 3.3; the same on OpenAI's API, which takes webp too. */
function imageFault(facts: InputFacts, formats: readonly string[]): InputFault | undefined {
  const { sizeBytes, picture } = facts
  const { inputImageBytesMax } = limits
  if (sizeBytes > inputImageBytesMax) {
    const wanted = `at most ${inputImageBytesMax} bytes`
    return { code: 'image_too_large', got: `${sizeBytes} bytes`, wanted }
  }
  if (picture === 'unknown') return undefined
  if (typeof picture === 'object' && formats.includes(picture.format)) return undefined
  const whole = picture === 'cut' ? 'a whole image' : 'an image'
  return { code: 'invalid_image', got: describe(facts), wanted: `${whole} that is ${formats.join(' or ')}` }
}

/** `first` is what the mask belongs to; undefined where its facts are not known yet. */
function maskFault(facts: InputFacts, first: InputFacts | undefined): InputFault | undefined {
  const { sizeBytes, picture } = facts
  const bytesMax = limits.maskBytesMax
  if (sizeBytes >= bytesMax) {
    return { code: 'invalid_mask', got: `${sizeBytes} bytes`, wanted: `less than ${bytesMax} bytes` }
  }
  if (picture === 'unknown') return undefined
  if (picture === 'cut') return { code: 'invalid_mask', got: describe(facts), wanted: 'a whole png' }
  if (picture?.format !== 'png') return { code: 'invalid_mask', got: describe(facts), wanted: 'a png' }
  if (!picture.hasAlpha) {
    const wanted = 'one whose transparent areas say what is edited'
    return { code: 'invalid_mask', got: 'a png without an alpha channel', wanted }
  }
  const image = first?.picture
  if (typeof image !== 'object') return undefined
  if (picture.width === image.width && picture.height === image.height) return undefined
  return {
    code: 'invalid_mask',
    got: `${picture.width}x${picture.height}`,
    wanted: `${image.width}x${image.height}, the size of the first image`,
  }
}

function describe({ sizeBytes, picture }: InputFacts): string {
  if (typeof picture === 'object') return `a ${picture.format}`
  return picture === 'cut'
    ? `an image that is cut off after ${sizeBytes} bytes`
    : `${sizeBytes} bytes that are no image`
}

const signatures = [
  ['png', [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], 0],
  ['jpeg', [0xff, 0xd8, 0xff], 0],
  ['webp', [0x57, 0x45, 0x42, 0x50], 8],
] as const

function formatOf(bytes: Uint8Array): PictureFormat | undefined {
  return signatures.find(([, signature, at]) =>
    signature.every((byte, index) => bytes[at + index] === byte),
  )?.[0]
}

function sizeOf(bytes: Uint8Array): { readonly width: number; readonly height: number } | undefined {
  try {
    const { width, height } = imageSize(bytes)
    return width > 0 && height > 0 ? { width, height } : undefined
  } catch {
    // A picture that is cut short, or none behind its first bytes: the reader throws for both, in many ways.
    return undefined
  }
}

/**
 * Whether the bytes go up to the picture's own end; what follows it is left unread by all. Cheap, and so no proof that
 * what lies before it is sound.
 */
const hasEnd: Readonly<Record<PictureFormat, (bytes: Uint8Array) => boolean>> = {
  // Its header, and behind it the four bytes of its checksum.
  png: (bytes) => pngChunk(bytes.subarray(0, -4), ['IEND']) !== undefined,
  jpeg: jpegHasEnd,
  webp: (bytes) => 8 + view(bytes).getUint32(4, true) <= bytes.length,
}

/** The last marker `FFD9`; one that stands before the pixels is that of a thumbnail. Source: ITU T.81, B.1.1 and B.2. */
function jpegHasEnd(bytes: Uint8Array): boolean {
  const scanAt = jpegScanAt(bytes)
  for (let at = bytes.lastIndexOf(0xd9); at > scanAt; at = bytes.lastIndexOf(0xd9, at - 1)) {
    if (bytes[at - 1] === 0xff) return true
  }
  return false
}

/** Where the first scan begins: behind the segments, each of which says its length. */
function jpegScanAt(bytes: Uint8Array): number {
  const segments = view(bytes)
  for (let at = 2; at + 4 <= bytes.length; at += 2 + segments.getUint16(at + 2)) {
    if (bytes[at + 1] === 0xda) return at
  }
  return bytes.length
}

/**
 * By its colour type, else by a chunk `tRNS`, which stands before the first `IDAT`. Undefined where neither was reached.
 * Source: W3C, PNG specification, 11.2.1 and 11.3.1.
 */
function pngHasAlpha(bytes: Uint8Array): boolean | undefined {
  const colourType = bytes[25] ?? 0
  if (colourType === 4 || colourType === 6) return true
  const kind = pngChunk(bytes, ['tRNS', 'IDAT'])
  return kind === undefined ? undefined : kind === 'tRNS'
}

/** The first chunk of one of these kinds whose header is there. */
function pngChunk(bytes: Uint8Array, kinds: readonly string[]): string | undefined {
  const chunks = view(bytes)
  for (let at = 8; at + 8 <= bytes.length; at += 12 + chunks.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
    if (kinds.includes(kind)) return kind
  }
  return undefined
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
