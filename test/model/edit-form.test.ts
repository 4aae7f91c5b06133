import { expect, test } from 'vitest'
import { editForm } from '../../src/model/edit-form.ts'
import type { InputImage } from '../../src/ports/inputs.ts'
import { png } from '../support/png.ts'

const fox: InputImage = { bytes: new Uint8Array(png()), format: 'png' }
const photo: InputImage = { bytes: new Uint8Array([1, 2, 3]), format: 'jpeg' }
const ref = { kind: 'blob', name: 'fox.png' } as const
const request = { prompt: 'a hat', n: 2, user: undefined, inputs: { images: [ref], mask: null } }

function partsOf(form: FormData): unknown[] {
  return [...form].map(([name, value]) =>
    typeof value === 'string' ? [name, value] : [name, value.name, value.type, value.size],
  )
}

test('one image is image, several are image[], and what names them is not sent', () => {
  const one = editForm(request, { images: [fox], mask: fox })
  expect(partsOf(one)).toEqual([
    ['image', 'image-0.png', 'image/png', fox.bytes.length],
    ['mask', 'mask.png', 'image/png', fox.bytes.length],
    ['prompt', 'a hat'],
    ['n', '2'],
  ])
  const two = editForm({ prompt: 'both' }, { images: [fox, photo], mask: null })
  expect(partsOf(two)).toEqual([
    ['image[]', 'image-0.png', 'image/png', fox.bytes.length],
    ['image[]', 'image-1.jpg', 'image/jpeg', 3],
    ['prompt', 'both'],
  ])
})
