import { inputFacts, type PictureFacts } from '../../core/requests/input-picture.ts'
import type { ErrorAnswer } from './answers.ts'
import { duplicateParameter, invalidValue, missingParameter, unknownParameter } from './answers.ts'
import type { Form } from './form.ts'

/** The pictures that an edit starts from, checked. */
export type EditInputs = { readonly images: readonly Buffer[]; readonly mask: Buffer | null }

type ReadEdit =
  /** `body`: the form's fields as a JSON body would have them. */
  | {
      readonly kind: 'edit'
      readonly body: Readonly<Record<string, unknown>>
      readonly inputs: EditInputs
    }
  | { readonly kind: 'refused'; readonly answer: ErrorAnswer }

/** Azure's documentation: PNG or JPG of less than 50 MB, a mask that is a PNG of less than 4 MB. OpenAI takes 16. */
const maxImages = 16
const maxImageBytes = 50 * 1024 * 1024
const maxMaskBytes = 4 * 1024 * 1024

/** All that an edit may bring: its images, its mask, its fields. */
export const maxEditBytes = maxImages * maxImageBytes + maxMaskBytes + 1_048_576

/** Checks a form as strictly as Azure does; what its fields hold is checked like a generation's. */
export function readEdit({ fields, files }: Form): ReadEdit {
  const repeated = fields.find(({ name }, index) => fields.findIndex((each) => each.name === name) !== index)
  if (repeated !== undefined) return refused(duplicateParameter(repeated.name))
  const asText = fields.find(({ name }) => fileNames.includes(name))
  if (asText !== undefined) {
    const name = asText.name.replace('[]', '')
    return refused(
      invalidValue(name, `Invalid type for '${name}': expected a file, but got a string instead.`),
    )
  }
  const unknown = files.find(({ name }) => !fileNames.includes(name))
  if (unknown !== undefined) return refused(unknownParameter(unknown.name))
  const named = (name: string): readonly Buffer[] =>
    files.filter((file) => file.name === name).map(({ bytes }) => bytes)
  const single = named('image')
  const [mask = null, ...masks] = named('mask')
  if (single.length > 1) return refused(duplicateParameter('image'))
  if (masks.length > 0) return refused(duplicateParameter('mask'))
  const images = [...single, ...named('image[]')]
  const answer = faultInImages(images) ?? (mask === null ? undefined : faultInMask(mask, images[0]))
  if (answer !== undefined) return refused(answer)
  return { kind: 'edit', body: Object.fromEntries(fields.map(typed)), inputs: { images, mask } }
}

const fileNames = ['image', 'image[]', 'mask']

function faultInImages(images: readonly Buffer[]): ErrorAnswer | undefined {
  if (images.length === 0) return missingParameter('image')
  if (images.length > maxImages) {
    return invalidValue(
      'image',
      `Invalid 'image': expected at most ${maxImages} images, but got ${images.length}.`,
    )
  }
  if (images.some((bytes) => bytes.length >= maxImageBytes)) {
    return invalidValue('image', 'Invalid image: each image must be less than 50 MB.')
  }
  const isTaken = images.every((bytes) => ['png', 'jpeg'].includes(pictureIn(bytes)?.format ?? ''))
  return isTaken
    ? undefined
    : invalidValue('image', 'Invalid image file or mode: expected a PNG or JPG file.')
}

function faultInMask(mask: Buffer, image: Buffer | undefined): ErrorAnswer | undefined {
  const picture = pictureIn(mask)
  const first = image && pictureIn(image)
  if (mask.length >= maxMaskBytes) return invalidValue('mask', 'Invalid mask image: must be less than 4 MB.')
  if (picture?.format !== 'png')
    return invalidValue('mask', 'Invalid mask image format: expected a PNG file.')
  if (!picture.hasAlpha) {
    return invalidValue('mask', 'Invalid mask image format: the mask must contain an alpha channel.')
  }
  return picture.width === first?.width && picture.height === first.height
    ? undefined
    : invalidValue('mask', 'Invalid mask image format: mask size does not match image size.')
}

function pictureIn(bytes: Buffer): PictureFacts | undefined {
  const { picture } = inputFacts({ bytes, sizeBytes: bytes.length })
  return typeof picture === 'object' ? picture : undefined
}

/** A form knows texts only. */
function typed({ name, value }: Form['fields'][number]): readonly [string, unknown] {
  const isNumber = ['n', 'output_compression'].includes(name) && /^\d{1,9}$/.test(value)
  return [name, isNumber ? Number(value) : value]
}

function refused(answer: ErrorAnswer): ReadEdit {
  return { kind: 'refused', answer }
}
