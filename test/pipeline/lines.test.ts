import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { linesOf, type Line } from '../../src/pipeline/lines.ts'

/** The lines of bytes that come in pieces cut at these places. */
async function read(bytes: Buffer, cuts: readonly number[] = [], lineBytesMax = 100): Promise<Line[]> {
  const places = [...cuts].sort((a, b) => a - b)
  const content = async function* () {
    let from = 0
    for (const to of [...places, bytes.length]) {
      yield new Uint8Array(bytes.subarray(from, to))
      from = to
    }
  }
  const lines: Line[] = []
  for await (const line of linesOf(content(), { lineBytesMax })) lines.push(line)
  return lines
}

describe('the lines of a file', () => {
  const text = '\uFEFF{"a":"é"}\r\n\n  \n{"b":"🦊"}\n\uFEFFc'
  const lines = [
    { number: 1, text: '{"a":"é"}\r' },
    { number: 4, text: '{"b":"🦊"}' },
    { number: 5, text: '\uFEFFc' },
  ]

  test('are the same wherever the file is cut', async () => {
    const bytes = Buffer.from(text)
    const cuts = fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(cuts, async (places) => {
        expect(await read(bytes, places)).toEqual(lines)
      }),
    )
    expect(await read(Buffer.from(`${text}\n`))).toEqual(lines)
    expect(await read(Buffer.from(''))).toEqual([])
  })

  test('that are no UTF-8, or too long, leave the next one alone', async () => {
    const half = Buffer.from('🦊').subarray(0, 2)
    const bytes = Buffer.concat([
      half,
      Buffer.from('\nfox\n'),
      Buffer.from([0x61, 0xff, 0x61, 0x62]),
      Buffer.from('\nwolf\n'),
      Buffer.from(`${'é'.repeat(6)}\ncat\n`),
      half,
    ])
    const wanted = [undefined, 'fox', undefined, 'wolf', undefined, 'cat', undefined]
    const cuts = fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(cuts, async (places) => {
        expect((await read(bytes, places, 11)).map((line) => line.text)).toEqual(wanted)
      }),
    )
  })
})
