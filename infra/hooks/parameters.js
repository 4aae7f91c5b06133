import { readFileSync } from 'node:fs'

/** The parameters of ../main.bicep, with the variable that sets each in azd's environment. */
export function readParameters() {
  const bicep = readFileSync(new URL('../main.bicep', import.meta.url), 'utf8')
  const file = JSON.parse(readFileSync(new URL('../main.parameters.json', import.meta.url), 'utf8'))
  return [...bicep.matchAll(declaration)].map(([, decorators, name, type, value]) => ({
    name,
    type,
    default: value?.trim(),
    variable: /^\$\{(\w+)\}$/.exec(file.parameters[name]?.value ?? '')?.[1],
    allowed: [...(/@allowed\(\[([^\]]*)\]\)/.exec(decorators)?.[1] ?? '').matchAll(/'([^']*)'|(\d+)/g)].map(
      ([, text, number]) => text ?? number,
    ),
    min: numberOf(decorators, 'minValue'),
    max: numberOf(decorators, 'maxValue'),
    maxLength: numberOf(decorators, 'maxLength'),
  }))
}

/** Lines that begin with @, and then the parameter. */
const declaration =
  /((?:^@\w+\((?:[^()]|\([^()]*\))*\)\r?\n|^@\w+\(\)\r?\n)*)^param (\w+) ([\w[\]]+)\??(?: = (.*))?$/gm

function numberOf(decorators, name) {
  const [, number] = new RegExp(`@${name}\\((\\d+)\\)`).exec(decorators) ?? []
  return number === undefined ? undefined : Number(number)
}

/**
 * What is wrong with the values in azd's environment, a line each. azd itself drops a number that is none without a word, and
 * deploys with the default.
 */
export function parameterFaults(env) {
  return readParameters().flatMap((parameter) => {
    const found = parameter.variable === undefined ? '' : (env[parameter.variable] ?? '')
    if (found === '') return []
    const wanted = wantedOf(parameter, found)
    const shown = /KEY|SECRET/.test(parameter.variable) ? `${found.length} characters` : found.slice(0, 200)
    return wanted === undefined ? [] : [`  ${parameter.variable}: found ${shown}; wanted ${wanted}`]
  })
}

/** Undefined: it is right, as far as can be seen from here. */
function wantedOf({ variable, type, allowed, min = -Infinity, max = Infinity, maxLength = Infinity }, found) {
  if (type === 'bool') return found === 'true' || found === 'false' ? undefined : 'true or false'
  if (allowed.length > 0) return allowed.includes(found) ? undefined : `one of ${allowed.join(', ')}`
  if (type === 'int')
    return within(found, /^-?\d+$/, min, max) ? undefined : `a whole number${bounds(min, max)}`
  if (type === 'object') return isJson(found, isObject) ? undefined : 'an object in JSON'
  if (type === 'object[]') return isJson(found, isListOfObjects) ? undefined : 'an array of objects in JSON'
  const share = shares[variable]
  if (share !== undefined)
    return within(found, /^\d+(\.\d+)?$/, share, 1) ? undefined : `a number${bounds(share, 1)}`
  return found.length <= maxLength ? undefined : `at most ${maxLength} characters`
}

/** Numbers with a fraction, which Bicep does not have: their least. */
const shares = { PACE: 0.01, REFUSAL_SHARE: 0.02 }

function within(found, pattern, min, max) {
  return pattern.test(found) && Number(found) >= min && Number(found) <= max
}

function bounds(min, max) {
  const least = Number.isFinite(min) ? ` from ${min}` : ''
  return Number.isFinite(max) ? `${least} to ${max}` : `${least}${least === '' ? '' : ' on'}`
}

function isJson(text, isRight) {
  try {
    return isRight(JSON.parse(text))
  } catch {
    return false
  }
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isListOfObjects(value) {
  return Array.isArray(value) && value.every(isObject)
}
