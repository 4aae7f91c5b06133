/**
 * What is wrong with DARKROOM_API_KEYS, a line each, as the service would find it; src/settings/api-keys.ts has the rules. A
 * plain key may stand anywhere in it, in the place of a name too: no value is shown, and a name only when it is one.
 */
export function apiKeyFaults(text) {
  const keys = parsed(text)
  if (keys === undefined) return [fault('', text, 'JSON such as {"ops":{"sha256":"…","admin":true}}')]
  const entries = Object.entries(keys)
  if (entries.length > keysMax)
    return [`  ${setting}: found ${entries.length} keys; wanted at most ${keysMax}`]
  const faults = entries.flatMap(([name, value], index) =>
    namePattern.test(name)
      ? valueFaults(`.${name}`, value)
      : [fault(`, key ${index + 1}`, name, 'a name of 1 to 32 of a-z 0-9 -')],
  )
  return faults.length > 0 ? faults : repeated(entries)
}

const setting = 'DARKROOM_API_KEYS'
const keysMax = 200
const namePattern = /^[a-z0-9-]{1,32}$/
const hashPattern = /^[0-9a-f]{64}$/i
const hashWanted =
  'the SHA-256 of the key, 64 hex digits, as npm run key prints it; a key itself belongs nowhere'

function valueFaults(at, value) {
  if (typeof value === 'string') return hashPattern.test(value) ? [] : [fault(at, value, hashWanted)]
  if (!isObject(value)) return [fault(at, value, hashWanted)]
  const unknown = Object.keys(value).filter((field) => !Object.hasOwn(fields, field))
  return [
    ...(unknown.length > 0
      ? [
          `  ${setting}${at}: found ${unknown.length} unknown field(s); wanted ${Object.keys(fields).join(', ')}`,
        ]
      : []),
    ...Object.entries(fields).flatMap(([field, { isRight, wanted }]) =>
      isRight(value[field]) ? [] : [fault(`${at}.${field}`, value[field], wanted)],
    ),
  ]
}

const isFlag = (value) => value === undefined || typeof value === 'boolean'

const fields = {
  sha256: { isRight: (value) => typeof value === 'string' && hashPattern.test(value), wanted: hashWanted },
  weight: {
    isRight: (value) => value === undefined || (typeof value === 'number' && value >= 0.01 && value <= 100),
    wanted: 'a number from 0.01 to 100',
  },
  read_only: { isRight: isFlag, wanted: 'true or false' },
  admin: { isRight: isFlag, wanted: 'true or false' },
}

/** One key under two names would have two owners. */
function repeated(entries) {
  const owners = new Map()
  return entries.flatMap(([name, value]) => {
    const hash = (typeof value === 'string' ? value : value.sha256).toLowerCase()
    const first = owners.get(hash)
    if (first === undefined) owners.set(hash, name)
    return first === undefined
      ? []
      : [`  ${setting}.${name}: found the hash of ${first}; wanted one of its own`]
  })
}

function fault(at, value, wanted) {
  const found =
    typeof value === 'string'
      ? `${value.length} characters`
      : value === undefined
        ? 'nothing'
        : `a value that is no text`
  return `  ${setting}${at}: found ${found}; wanted ${wanted}`
}

function parsed(text) {
  try {
    const value = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
