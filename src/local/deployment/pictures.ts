import { createCanvas, loadImage, type SKRSContext2D } from '@napi-rs/canvas'
import { chanceFrom } from './chance.ts'
import type { EditInputs } from './edit.ts'
import { withoutMarkers } from './faults.ts'
import { drawLettering, setLettering } from './lettering.ts'
import { motifs, palettes } from './scenery.ts'

type PictureShape = {
  readonly width: number
  readonly height: number
  readonly outputFormat: 'png' | 'jpeg'
  /** The request's `output_compression`, 0 to 100. */
  readonly outputCompression: number
  readonly isTransparent: boolean
}

/**
 * Draws a landscape or an abstract scene with the prompt's words in it. The seed and the words choose the colours, the
 * index chooses another scene in them, so the pictures of one answer go together and still differ. Encoded off the main
 * thread.
 */
export async function drawPicture(
  picture: PictureShape & {
    readonly prompt: string
    readonly index: number
    readonly seed: number
    readonly model: string
    /** What an edit starts from. */
    readonly inputs?: EditInputs | undefined
  },
): Promise<Buffer> {
  const { width, height, index, seed, isTransparent } = picture
  const words = withoutMarkers(picture.prompt) || 'untitled'
  const palette = pick(palettes, chanceFrom(seed, 'palette', words)())
  const firstMotif = Math.floor(chanceFrom(seed, 'motif', words)() * motifs.length)
  const motif = motifs[(firstMotif + index) % motifs.length]
  const canvas = createCanvas(width, height)
  const context = canvas.getContext('2d')
  const lettering = setLettering(context, { words, width, height, isRound: isTransparent })

  if (isTransparent) {
    context.beginPath()
    context.arc(width / 2, height / 2, Math.min(width, height) * 0.46, 0, 2 * Math.PI)
    context.clip()
  }
  const ground = Math.min(height * 0.76, lettering.top - Math.min(width, height) * 0.06)
  motif?.({ context, width, height, ground, palette, chance: chanceFrom(seed, 'scene', words, index) })
  if (picture.inputs !== undefined) await drawInputs(context, picture.inputs, { width, height })
  drawLettering(context, lettering, { ink: palette.ink, caption: `Simulated ${picture.model}` })

  // 100, the default, means the least compression that the model uses, which is not the largest file JPEG can make.
  const quality = Math.max(10, Math.min(90, picture.outputCompression))
  return picture.outputFormat === 'png' ? canvas.encode('png') : canvas.encode('jpeg', quality)
}

/** The first picture stands where its mask is opaque; without a mask all of it shows through. */
async function drawInputs(
  context: SKRSContext2D,
  { images: [first], mask }: EditInputs,
  { width, height }: { readonly width: number; readonly height: number },
): Promise<void> {
  if (first === undefined) return
  const kept = createCanvas(width, height)
  const layer = kept.getContext('2d')
  layer.drawImage(await loadImage(first), 0, 0, width, height)
  if (mask !== null) {
    layer.globalCompositeOperation = 'destination-in'
    layer.drawImage(await loadImage(mask), 0, 0, width, height)
  }
  context.save()
  context.globalAlpha = mask === null ? 0.5 : 1
  context.drawImage(kept, 0, 0)
  context.restore()
}

/** Whether what an edit starts from can be drawn. */
export async function isReadable(bytes: Buffer): Promise<boolean> {
  try {
    await loadImage(bytes)
    return true
  } catch (error) {
    // The decoder's word for all that it cannot read.
    if (error instanceof Error && 'code' in error && error.code === 'InvalidArg') return false
    throw error
  }
}

/**
 * One colour in the asked size and format, encoded once: for benchmarks and tests, where the picture must cost nothing.
 * The mark makes its bytes differ from those of every other: what follows a picture's end is left unread by all.
 */
export async function plainPicture(shape: PictureShape, mark: string): Promise<Buffer> {
  const key = `${shape.width}x${shape.height} ${shape.outputFormat} ${shape.isTransparent}`
  const encoded = plainPictures.get(key) ?? encodePlain(shape)
  if (plainPictures.size >= maxPlainPictures) plainPictures.clear()
  plainPictures.set(key, encoded)
  return Buffer.concat([await encoded, Buffer.from(mark)])
}

// A run asks for a handful of sizes; gpt-image-2 allows thousands.
const maxPlainPictures = 50
const plainPictures = new Map<string, Promise<Buffer>>()

async function encodePlain({ width, height, outputFormat, isTransparent }: PictureShape): Promise<Buffer> {
  const canvas = createCanvas(width, height)
  const context = canvas.getContext('2d')
  context.fillStyle = isTransparent ? '#2a7f7880' : '#2a7f78'
  context.fillRect(0, 0, width, height)
  return outputFormat === 'png' ? canvas.encode('png') : canvas.encode('jpeg')
}

function pick<T>(choices: readonly [T, ...T[]], chance: number): T {
  return choices[Math.floor(chance * choices.length)] ?? choices[0]
}
