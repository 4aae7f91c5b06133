import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What a script keeps: a picture for each job that is done, and a note for each that it gave up. */

export async function storePicture(folder: string, index: number, bytes: Uint8Array): Promise<void> {
  await writeFile(join(folder, `${index}.png`), bytes)
}

export async function noteFailure(folder: string, index: number): Promise<void> {
  await writeFile(join(folder, `${index}.failed`), '')
}

export async function outcomesIn(
  folder: string,
): Promise<{ readonly finished: number; readonly failed: number }> {
  const names = await readdir(folder)
  const pictures = new Set(names.filter((name) => name.endsWith('.png')).map((name) => name.slice(0, -4)))
  const failed = names.filter((name) => name.endsWith('.failed') && !pictures.has(name.slice(0, -7)))
  return { finished: pictures.size, failed: failed.length }
}
