import { fileURLToPath } from 'node:url'
import { GlobalFonts, type SKRSContext2D } from '@napi-rs/canvas'

/** The prompt's words broken into lines, with their place in the picture. */
type Lettering = {
  readonly lines: readonly string[]
  readonly fontSize: number
  readonly lineHeight: number
  /** The upper edge of the first line and the place of the caption below the last. */
  readonly top: number
  readonly captionAt: number
  readonly captionSize: number
  readonly x: number
  readonly align: 'left' | 'center'
}

/**
 * Sets the words as large as they fit, in at most the lower third. Words that do not fit at the smallest size end in an
 * ellipsis. Inter comes from its own file, so the text is there on a machine without fonts.
 */
export function setLettering(
  context: SKRSContext2D,
  { words, width, height, isRound }: Place & { readonly words: string },
): Lettering {
  registerInter()
  context.lang = 'en'
  const unit = Math.min(width, height)
  const captionSize = Math.round(unit * 0.0165)
  const captionAt = isRound ? height / 2 + unit * 0.395 : height - unit * 0.062
  const maxWidth = isRound ? unit * 0.56 : width - unit * 0.15
  const maxHeight = unit * (isRound ? 0.2 : 0.27)
  const measured = measure(context, words.slice(0, maxCharacters))

  for (const share of fontShares) {
    const fontSize = Math.round(unit * share)
    const lineHeight = Math.round(fontSize * 1.22)
    const isSmallest = share === fontShares.at(-1)
    const roomFor = Math.max(1, Math.floor(maxHeight / lineHeight))
    const maxLines = isSmallest ? roomFor : Math.min(roomFor, maxLargeLines)
    const widthInEms = maxWidth / fontSize
    const lines = breakLines(measured, widthInEms)
    if (lines.length > maxLines && !isSmallest) continue
    const set =
      lines.length <= maxLines ? balance(measured, widthInEms, lines.length) : shorten(lines, maxLines)
    const top = captionAt - captionSize * 2.4 - set.length * lineHeight
    const [x, align] = isRound ? ([width / 2, 'center'] as const) : ([unit * 0.075, 'left'] as const)
    return { lines: set, fontSize, lineHeight, top, captionAt, captionSize, x, align }
  }
  throw new Error('The smallest size always returns.')
}

export function drawLettering(
  context: SKRSContext2D,
  lettering: Lettering,
  { ink, caption }: { readonly ink: string; readonly caption: string },
): void {
  const { x, top, fontSize, lineHeight } = lettering
  context.fillStyle = ink
  context.textAlign = lettering.align
  context.textBaseline = 'alphabetic'
  context.font = fontOf(600, fontSize)
  context.letterSpacing = tracking(fontSize)
  for (const [row, line] of lettering.lines.entries()) {
    context.fillText(line, x, top + row * lineHeight + fontSize)
  }
  context.globalAlpha = 0.6
  context.font = fontOf(500, lettering.captionSize)
  context.letterSpacing = `${(lettering.captionSize * 0.04).toFixed(2)}px`
  context.fillText(caption, x, lettering.captionAt)
  context.globalAlpha = 1
}

type Place = { readonly width: number; readonly height: number; readonly isRound: boolean }

// Shares of the shorter edge, largest first.
const fontShares = [0.072, 0.062, 0.053, 0.046, 0.04, 0.035, 0.03, 0.026] as const
// Beyond this a large text looks crowded; a smaller one is set instead.
const maxLargeLines = 4
// More cannot fit at the smallest size; measuring 32,000 characters would only cost time.
const maxCharacters = 900
// In ems; a longer word may not fit on a line of the round picture's largest size.
const maxWordWidth = 7

const fonts = [
  { weight: 500, file: '@expo-google-fonts/inter/500Medium/Inter_500Medium.ttf' },
  { weight: 600, file: '@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf' },
] as const

function registerInter(): void {
  for (const { weight, file } of fonts) {
    if (GlobalFonts.has(familyOf(weight))) continue
    const path = fileURLToPath(import.meta.resolve(file))
    if (GlobalFonts.registerFromPath(path, familyOf(weight)) === null)
      throw new Error(`No font could be read from ${file}`)
  }
}

function familyOf(weight: number): string {
  return `Darkroom Inter ${weight}`
}

function fontOf(weight: 500 | 600, size: number): string {
  return `${size}px "${familyOf(weight)}"`
}

/** Large Inter looks loose at its own spacing. */
function tracking(size: number): string {
  return `${(-size * 0.012).toFixed(2)}px`
}

/** A word, or the part of one that must stay whole, and its width in ems. */
type Measured = { readonly text: string; readonly width: number; readonly spaceBefore: number }

/** Measures every word once; a line's width at any size follows by arithmetic. */
function measure(context: SKRSContext2D, words: string): readonly Measured[] {
  const measuredAt = 100
  context.font = fontOf(600, measuredAt)
  context.letterSpacing = tracking(measuredAt)
  const widthOf = (text: string) => context.measureText(text).width / measuredAt
  const space = widthOf(' ')
  return words.split(' ').flatMap((word, index) => {
    const spaceBefore = index === 0 ? 0 : space
    const width = widthOf(word)
    if (width <= maxWordWidth) return [{ text: word, width, spaceBefore }]
    // Cut between characters as people see them, so that no letter and no emoji is torn.
    const characters = [...new Intl.Segmenter().segment(word)].map(({ segment }) => segment)
    return characters.map((text, at) => ({
      text,
      width: widthOf(text),
      spaceBefore: at === 0 ? spaceBefore : 0,
    }))
  })
}

function breakLines(words: readonly Measured[], maxWidth: number): readonly string[] {
  const lines: string[] = []
  let [line, width] = ['', 0]
  for (const word of words) {
    const longer = width + word.spaceBefore + word.width
    if (line !== '' && longer > maxWidth) {
      lines.push(line)
      line = word.text
      width = word.width
    } else {
      line += (line !== '' && word.spaceBefore > 0 ? ' ' : '') + word.text
      width = longer
    }
  }
  return [...lines, line]
}

/** Breaks at the narrowest width that needs no more lines: it leaves no single word alone on the last one. */
function balance(words: readonly Measured[], maxWidth: number, lineCount: number): readonly string[] {
  let [tooNarrow, enough] = [maxWidth * 0.4, maxWidth]
  for (let step = 0; step < 6; step += 1) {
    const middle = (tooNarrow + enough) / 2
    if (breakLines(words, middle).length <= lineCount) enough = middle
    else tooNarrow = middle
  }
  return breakLines(words, enough)
}

/** The last word kept gives its place to the ellipsis. */
function shorten(lines: readonly string[], maxLines: number): readonly string[] {
  const last = lines[maxLines - 1] ?? ''
  const end = last.slice(0, Math.max(last.lastIndexOf(' '), last.length - 12)).replace(/[\s,.;:]+$/, '')
  return [...lines.slice(0, maxLines - 1), `${end} …`]
}
