import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { rootDir } from './sources.ts'

const setting = 'FUNCTIONS_REQUEST_BODY_SIZE_LIMIT'

/** What a form has beside its files: boundaries, names, and a prompt in four-byte characters. */
const formBytesMax = 4 * 1024 * 1024

describe('what the host takes as a body', () => {
  test('is one figure: in the code, in the example of settings, and in the documents', () => {
    const example: { Values: Record<string, string> } = JSON.parse(
      readFileSync(join(rootDir, 'local.settings.json.example'), 'utf8'),
    )
    expect(example.Values[setting]).toBe(String(limits.hostBodyBytesMax))
    const page = (name: string): string => readFileSync(join(rootDir, name), 'utf8')
    const rows = page('docs/settings.md')
      .split('\n')
      .filter((line) => line.startsWith(`| \`${setting}\``))
    expect(rows.map((row) => row.split('|')[3]?.trim())).toEqual([String(limits.hostBodyBytesMax)])
    const others = [page('README.md'), page('docs/settings.md')].join().match(/\b(?:230686720|104857600)\b/g)
    expect(others).toBeNull()
  })

  test('is more than any route takes, and little more: it is read whole before any key is looked at', () => {
    const { requestFilesBytesMax, jobBodyBytesMax, estimateBodyBytesMax, requestBodyBytesMax } = limits
    const largest = Math.max(requestFilesBytesMax + formBytesMax, jobBodyBytesMax, estimateBodyBytesMax)
    expect(limits.hostBodyBytesMax).toBeGreaterThanOrEqual(Math.max(largest, requestBodyBytesMax))
    expect(limits.hostBodyBytesMax).toBeLessThanOrEqual(largest + formBytesMax)
  })

  test('leaves a way for every file that is larger', () => {
    const { uploadPartsMax, uploadHeldBytesMax, requestFilesBytesMax } = limits
    for (const file of [limits.batchFileBytesMax, limits.visionFileBytesMax]) {
      expect(uploadPartsMax * requestFilesBytesMax).toBeGreaterThanOrEqual(file)
      expect(uploadHeldBytesMax).toBeGreaterThanOrEqual(2 * file)
    }
    // One image, at least, fits a form that asks for an edit.
    expect(requestFilesBytesMax).toBeGreaterThan(limits.inputImageBytesMax + limits.maskBytesMax)
  })
})
