import { readFileSync } from 'node:fs'
import { apiKeyFaults } from './api-keys.js'

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
    minLength: numberOf(decorators, 'minLength'),
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
    const found = parameter.variable === undefined ? undefined : env[parameter.variable]
    if (found === undefined || (found === '' && isFilledLater(parameter.variable))) return []
    if (found === '') return isTextThatMayBeEmpty(parameter) ? [] : [emptyFault(parameter, env)]
    if (parameter.variable === apiKeys) return apiKeyFaults(found)
    const wanted = wantedOf(parameter, found)
    const shown = /KEY|SECRET/.test(parameter.variable) ? `${found.length} characters` : found.slice(0, 200)
    return wanted === undefined ? [] : [`  ${parameter.variable}: found ${shown}; wanted ${wanted}`]
  })
}

const apiKeys = 'DARKROOM_API_KEYS'

/** azd asks for its own, and the hook makes a key where there is none. */
function isFilledLater(variable) {
  return variable === apiKeys || variable.startsWith('AZURE_')
}

/** azd hands an empty value on: a text that is empty by default takes it, and anything else breaks the deployment. */
function isTextThatMayBeEmpty({ type, allowed, minLength = 0 }) {
  return type === 'string' && allowed.length === 0 && minLength === 0
}

/** Newer azd has `azd env unset`. Older azd has none: delete the line from .azure/NAME/.env, which holds for every version. */
function emptyFault(parameter, { AZURE_ENV_NAME: environment = 'NAME' }) {
  const wanted = wantedOf(parameter, '') ?? 'a value'
  const line = `its line deleted from .azure/${environment}/.env (in a pipeline: no such variable) for the default`
  return `  ${parameter.variable}: found an empty value; wanted ${wanted}, or ${line}`
}

/** What would not hinder a deployment, and is a mistake as a rule. */
export function parameterWarnings(env) {
  if ((env.IMAGE_DEPLOYMENTS ?? '') === '' || (env.MODEL_ACCOUNT_IDS ?? '') !== '') return []
  const names = JSON.parse(env.IMAGE_DEPLOYMENTS)
    .filter((deployment) => deployment.key_setting === undefined)
    .map(({ name }) => name)
  if (names.length === 0) return []
  return [
    `IMAGE_DEPLOYMENTS has deployments without a key_setting (${names.join(', ')}), and MODEL_ACCOUNT_IDS is not set: the ` +
      'app gets no role on their accounts, and they answer 401. Name the accounts there, unless it has the role already.',
  ]
}

/** Undefined: it is right, as far as can be seen from here. */
function wantedOf({ variable, type, allowed, min = -Infinity, max = Infinity, maxLength = Infinity }, found) {
  if (type === 'bool') return found === 'true' || found === 'false' ? undefined : 'true or false'
  if (allowed.length > 0) return allowed.includes(found) ? undefined : `one of ${allowed.join(', ')}`
  if (type === 'int')
    return within(found, /^-?\d+$/, min, max) ? undefined : `a whole number${bounds(min, max)}`
  if (type === 'object') return isJson(found, isObject) ? undefined : `an object in JSON${secretHint(found)}`
  if (type === 'object[]') return isJson(found, isListOfObjects) ? undefined : 'an array of objects in JSON'
  const share = shares[variable]
  if (share !== undefined)
    return within(found, /^\d+(\.\d+)?$/, share, 1) ? undefined : `a number${bounds(share, 1)}`
  const form = forms[variable]
  if (form !== undefined && !form.isRight(found)) return form.wanted
  return found.length <= maxLength ? undefined : `at most ${maxLength} characters`
}

/** Numbers with a fraction, which Bicep does not have: their least. */
const shares = { PACE: 0.01, REFUSAL_SHARE: 0.02 }

const accountIdForm = '/subscriptions/…/resourceGroups/…/providers/Microsoft.CognitiveServices/accounts/NAME'
const accountId =
  /^\/subscriptions\/[^/\s]+\/resourceGroups\/[^/\s]+\/providers\/Microsoft\.CognitiveServices\/accounts\/[^/\s]+$/i

/** Counted up after each `azd down`. */
export function isGeneration(text) {
  return /^\d{1,9}$/.test(text)
}

/** Texts of a form that Bicep cannot name. */
const forms = {
  NETWORK_ADDRESSES: {
    isRight: isNetwork,
    wanted: 'the first address of a network and its prefix, of /8 to /22: 10.0.0.0/16',
  },
  MODEL_ACCOUNT_IDS: {
    isRight: (text) => text.split(',').every((id) => accountId.test(id.trim())),
    wanted: `ids of Azure OpenAI accounts, with commas: ${accountIdForm}; the portal's JSON view of an account has its id`,
  },
  NAME_GENERATION: { isRight: isGeneration, wanted: 'a whole number of at most 9 digits' },
  ALERT_EMAIL: { isRight: (text) => /^[^\s@,;]+@[^\s@,;]+$/.test(text), wanted: 'one address of e-mail' },
  // Azure refuses a budget that begins on another day.
  BUDGET_START: {
    isRight: (text) => /^20\d\d-(0[1-9]|1[0-2])-01(T00:00:00Z)?$/.test(text),
    wanted: 'the first day of a month: 2026-11-01',
  },
}

function isNetwork(text) {
  const [, address = '', bits = ''] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(text) ?? []
  const parts = address.split('.').map(Number)
  const prefix = Number(bits)
  if (parts.length !== 4 || parts.some((part) => part > 255) || prefix < 8 || prefix > 22) return false
  const number = parts.reduce((sum, part) => sum * 256 + part, 0)
  return number % 2 ** (32 - prefix) === 0
}

function secretHint(found) {
  return found.startsWith('akvs://') ? ': `azd env set-secret` makes a text of it, and is for texts only' : ''
}

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
