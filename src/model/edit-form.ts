import type { Inputs } from '../core/requests/input-ref.ts'
import type { ImageRequest } from '../core/requests/submission.ts'
import type { InputImage } from '../ports/inputs.ts'

/**
 * The multipart form of an edit: the API takes no JSON. One image is `image`, several are `image[]`. On the deployments
 * path there is no `model`. Source: Azure's how-to on edits.
 */
export function editForm(
  { inputs: _refs, ...parameters }: ImageRequest,
  inputs: Inputs<InputImage>,
): FormData {
  const form = new FormData()
  const field = inputs.images.length === 1 ? 'image' : 'image[]'
  for (const [index, image] of inputs.images.entries()) form.append(field, asFile(image, `image-${index}`))
  if (inputs.mask !== null) form.append('mask', asFile(inputs.mask, 'mask'))
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) form.append(name, String(value))
  }
  return form
}

function asFile({ bytes, format }: InputImage, name: string): File {
  return new File([new Uint8Array(bytes)], `${name}.${format === 'jpeg' ? 'jpg' : format}`, {
    type: `image/${format}`,
  })
}
