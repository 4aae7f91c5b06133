import { beforeAll, describe, expect, test } from 'vitest'
import type { InputStore } from '../../src/ports/inputs.ts'
import { stores, uniqueName } from './stores.ts'

describe.each(stores)('input images in $name', ({ makeInputs }) => {
  let inputs: InputStore
  beforeAll(async () => {
    inputs = await makeInputs()
  })

  const bytes = new Uint8Array(100_000).map((_, index) => index % 251)

  test('are read as they were kept, whole or their beginning, with the size of the whole', async () => {
    const name = `${uniqueName('batch')}/a b/fox ü.png`
    await inputs.keep(name, bytes)
    const whole = await inputs.read(name, 200_000)
    expect(whole?.sizeBytes).toBe(100_000)
    expect(Buffer.compare(whole!.bytes, bytes)).toBe(0)
    const beginning = await inputs.read(name, 1_000)
    expect(beginning?.sizeBytes).toBe(100_000)
    expect(Buffer.compare(beginning!.bytes, bytes.subarray(0, 1_000))).toBe(0)
  })

  test('that are not there are told as such, and empty ones as empty', async () => {
    expect(await inputs.read(uniqueName('none'), 1_000)).toBeUndefined()
    const name = uniqueName('empty')
    await inputs.keep(name, new Uint8Array())
    expect(await inputs.read(name, 1_000)).toMatchObject({ sizeBytes: 0 })
  })

  test('kept again are replaced', async () => {
    const name = uniqueName('twice')
    await inputs.keep(name, bytes)
    await inputs.keep(name, bytes.subarray(0, 3))
    expect(await inputs.read(name, 1_000)).toMatchObject({ sizeBytes: 3 })
  })

  test('that were kept for jobs are listed by their time, and go', async () => {
    const kept = `~kept/${uniqueName('batch')}/a-in-0-ab`
    const others = uniqueName('own')
    for (const name of [kept, others]) await inputs.keep(name, bytes)
    const before = async (at: number): Promise<string[]> => {
      const names: string[] = []
      for await (const name of inputs.keptBefore(at)) names.push(name)
      return names
    }
    expect(await before(Date.now() + 60_000)).toContain(kept)
    expect(await before(Date.now() + 60_000)).not.toContain(others)
    expect(await before(Date.now() - 60_000)).not.toContain(kept)
    await inputs.remove(kept)
    await inputs.remove(kept)
    expect(await inputs.read(kept, 1)).toBeUndefined()
  })

  test('have a fingerprint of their content', async () => {
    expect(await inputs.fingerprint(new TextEncoder().encode('abc'))).toBe('ba7816bf8f01cfea414140de5dae2223')
    expect(await inputs.fingerprint(bytes)).toBe(await inputs.fingerprint(bytes.slice()))
    expect(await inputs.fingerprint(bytes)).not.toBe(await inputs.fingerprint(bytes.subarray(1)))
  })
})
