import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { isRecord, readJson } from '../core/json.ts'
import { readSettings, SettingsError } from '../settings.ts'

const setting = 'DARKROOM_API_KEYS'

type KeyWish = {
  readonly name: string
  readonly weight?: number | undefined
  readonly isReadOnly: boolean
  readonly isAdmin: boolean
}

/** A key of 256 bits by chance, and what is kept of it. */
export function newKey(): { readonly key: string; readonly sha256: string } {
  const key = `dk_${randomBytes(32).toString('base64url')}`
  return { key, sha256: createHash('sha256').update(key).digest('hex') }
}

/**
 * What DARKROOM_API_KEYS holds with the new key in it. Throws `SettingsError` when the name is taken, or when what there
 * is, or what is wished, cannot be used.
 */
export function withKey(
  before: string,
  { name, weight, isReadOnly, isAdmin }: KeyWish,
  sha256: string,
): string {
  const keys = keysIn(before)
  if (Object.hasOwn(keys, name)) {
    throw new SettingsError(
      `there is a key ${name} already; --rotate gives it another, --remove takes it away, or use another name`,
    )
  }
  const isPlain = weight === undefined && !isReadOnly && !isAdmin
  const entry = isPlain
    ? sha256
    : {
        sha256,
        ...(weight !== undefined && { weight }),
        ...(isReadOnly && { read_only: true }),
        ...(isAdmin && { admin: true }),
      }
  return usable({ ...keys, [name]: entry })
}

/** The same with another key for the name, which keeps what it may and what belongs to it. Throws `SettingsError`. */
export function withRotatedKey(before: string, name: string, sha256: string): string {
  const keys = keysIn(before)
  const entry = entryIn(keys, name)
  return usable({ ...keys, [name]: isRecord(entry) ? { ...entry, sha256 } : sha256 })
}

/** The same without the key. Throws `SettingsError`. */
export function withoutKey(before: string, name: string): string {
  const keys = keysIn(before)
  entryIn(keys, name)
  return usable(Object.fromEntries(Object.entries(keys).filter(([each]) => each !== name)))
}

type Keys = Readonly<Record<string, unknown>>

function keysIn(before: string): Keys {
  const json = readJson(before.trim() === '' ? '{}' : before)
  if (json.kind === 'json' && isRecord(json.value)) return json.value
  throw new SettingsError(`${setting} is not JSON; mend it first`)
}

function entryIn(keys: Keys, name: string): unknown {
  if (Object.hasOwn(keys, name)) return keys[name]
  const names = Object.keys(keys).join(', ')
  throw new SettingsError(`there is no key ${name}; there ${names === '' ? 'are none' : `are ${names}`}`)
}

/** Only what the service would take: the other settings do not matter here. */
function usable(keys: Keys): string {
  const text = JSON.stringify(keys)
  readSettings({ ...soundSettings, [setting]: text })
  return text
}

const soundSettings = {
  AzureWebJobsStorage: 'UseDevelopmentStorage=true',
  AZURE_OPENAI_ENDPOINT: 'http://127.0.0.1',
}

const fileSchema = z.object({ Values: z.record(z.string(), z.string()) })

/** The file's DARKROOM_API_KEYS; empty when there is no such file, or nothing is set. Throws `SettingsError`. */
export async function savedKeys(path: string): Promise<string> {
  return (await readLocalSettings(path))?.values[setting] ?? ''
}

/** Puts it into the file, which must be there. All else stays, in its order. Throws `SettingsError`. */
export async function saveKeys(path: string, keys: string): Promise<void> {
  const found = await readLocalSettings(path)
  if (found === undefined) {
    throw new SettingsError(`there is no ${path}; copy local.settings.json.example to it first`)
  }
  const changed = { ...found.file, Values: { ...found.values, [setting]: keys } }
  await writeFile(path, `${JSON.stringify(changed, null, 2)}\n`)
}

type LocalSettings = {
  /** As it was written: what a schema gives back has the fields that the schema names in front. */
  readonly file: Readonly<Record<string, unknown>>
  readonly values: Readonly<Record<string, string>>
}

async function readLocalSettings(path: string): Promise<LocalSettings | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  const json = readJson(text)
  const file = json.kind === 'json' && isRecord(json.value) ? json.value : {}
  const parsed = fileSchema.safeParse(file)
  if (parsed.success) return { file, values: parsed.data.Values }
  throw new SettingsError(`${path} cannot be read; wanted an object with "Values", each a string`)
}
