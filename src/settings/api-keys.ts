import { z } from 'zod'
import { isRecord, nameOf, readJson } from '../core/json.ts'
import { limits } from '../core/limits.ts'
import { maskedSecret, readFields, type Fault } from './fields.ts'

/** A key that may ask over HTTP. The key itself is nowhere: only its SHA-256 is. */
export type ApiKey = {
  /** What its batches and files belong to; never changed for a key that has any. */
  readonly name: string
  /** In hex, small letters. */
  readonly sha256: string
  /** Its part of the budget beside other keys. */
  readonly weight: number
  readonly isReadOnly: boolean
  readonly isAdmin: boolean
}

type KeyList = { readonly keys: readonly ApiKey[]; readonly faults: readonly Fault[] }

const setting = 'DARKROOM_API_KEYS'

export const keyNamePattern = /^[a-z0-9-]{1,32}$/

const nameWanted = 'names of 1 to 32 of a-z 0-9 -'
const hashWanted = 'the SHA-256 of the key, 64 hex digits, as npm run key prints it'
const hashPattern = /^[0-9a-f]{64}$/i
const weightWanted = 'a number from 0.01 to 100'
const listWanted = `JSON such as {"studio":"SHA-256 of its key","ci":{"sha256":"…","read_only":true}}`

const weight = z.number(weightWanted).min(0.01, weightWanted).max(100, weightWanted)

/** Every field is optional here, so that a hash that lacks is a fault beside the others. */
const entrySchema = z.strictObject({
  sha256: z.string(hashWanted).regex(hashPattern, hashWanted).optional(),
  weight: weight.optional(),
  read_only: z.boolean('true or false').optional(),
  admin: z.boolean('true or false').optional(),
})

/** The keys of DARKROOM_API_KEYS, or every fault in it. Who wrote a key in place of its hash finds neither in the message. */
export function readApiKeys(text: string): KeyList {
  const json = readJson(text)
  if (json.kind === 'unreadable') return faulty(`text that is not JSON (${json.reason})`, listWanted)
  if (!isRecord(json.value)) return faulty(nameOf(json.value), listWanted)
  const entries = Object.entries(json.value)
  if (entries.length > limits.apiKeysMax) {
    return faulty(`${entries.length} keys`, `at most ${limits.apiKeysMax}`)
  }
  const read = entries.map(([name, value]) => readEntry(name, value))
  const keys = read.flatMap((list) => list.keys)
  return { keys, faults: [...read.flatMap((list) => list.faults), ...repeated(keys)] }
}

function readEntry(name: string, value: unknown): KeyList {
  const at = `${setting}.${name.slice(0, limits.quotedValueCharsMax)}`
  const faults: Fault[] = []
  if (!keyNamePattern.test(name)) faults.push({ name: at, found: 'that name', wanted: nameWanted })
  const fields = typeof value === 'string' ? { sha256: value } : value
  if (!isRecord(fields)) {
    return { keys: [], faults: [...faults, { name: at, found: nameOf(value), wanted: hashWanted }] }
  }
  const { values, wanted } = readFields(entrySchema, fields)
  for (const [field, what] of wanted) {
    const place = typeof value === 'string' ? at : `${at}.${field}`
    faults.push({ name: place, found: shown(fields[field]), wanted: what })
  }
  const { sha256 } = values
  if (sha256 === undefined && !wanted.has('sha256')) {
    faults.push({ name: `${at}.sha256`, found: 'nothing', wanted: hashWanted })
  }
  if (sha256 === undefined || faults.length > 0) return { keys: [], faults }
  const key: ApiKey = {
    name,
    sha256: sha256.toLowerCase(),
    weight: values.weight ?? 1,
    isReadOnly: values.read_only ?? false,
    isAdmin: values.admin ?? false,
  }
  return { keys: [key], faults }
}

/** One key under two names would have two owners. */
function repeated(keys: readonly ApiKey[]): readonly Fault[] {
  return [...Map.groupBy(keys, ({ sha256 }) => sha256).values()].flatMap(([first, ...others]) =>
    first === undefined
      ? []
      : others.map(({ name }) => ({
          name: `${setting}.${name}`,
          found: 'the hash of another key',
          wanted: `a hash of its own: it is that of ${first.name}`,
        })),
  )
}

/** A text may be a key, or its hash. */
function shown(found: unknown): string {
  if (typeof found === 'string') return maskedSecret(found)
  return typeof found === 'number' || typeof found === 'boolean' ? String(found) : nameOf(found)
}

function faulty(found: string, wanted: string): KeyList {
  return { keys: [], faults: [{ name: setting, found, wanted }] }
}
