import { createRequire } from 'node:module'
import { keySettings, readKeys } from './deployment-keys.js'
import { readParameters } from './parameters.js'

/**
 * What the service itself would refuse of these values at its start, a line each under the variable's name: its own check
 * says so, of which there is no copy here. It wants the packages that `npm ci` installs; without them `unchecked` says why.
 */
export async function serviceFaults(env) {
  const unchecked = hindrance()
  if (unchecked !== undefined) return { unchecked, faults: [] }
  const { readSettings, SettingsError } = await import(settingsFile.href)
  try {
    readSettings(settingsOf(env))
    return { faults: [] }
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    const [, ...lines] = error.message.split('\n')
    return { faults: lines.map((line) => asVariable(line, keySettings(env))) }
  }
}

const settingsFile = new URL('../../src/settings.ts', import.meta.url)

function hindrance() {
  if (!process.features.typescript) return `Node ${process.versions.node} does not run TypeScript by itself`
  try {
    createRequire(settingsFile).resolve('zod')
    return undefined
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
    return '`npm ci` was not run'
  }
}

/** Settings that another variable sets than the one of their name. ../main.bicep has them so. */
const variables = {
  AZURE_OPENAI_DEPLOYMENT: 'IMAGE_DEPLOYMENT',
  AZURE_OPENAI_API_VERSION: 'MODEL_API_VERSION',
  AZURE_OPENAI_API_KEY: 'MODEL_API_KEY',
}

/** These describe a single deployment; beside a list the app does not get them. */
const ofOne = [
  'AZURE_OPENAI_DEPLOYMENT',
  'AZURE_OPENAI_API_VERSION',
  'AZURE_OPENAI_API_KEY',
  'IMAGE_MODEL',
  'IMAGE_RPM',
]

/** The settings that the app would get, with what only Azure knows filled in. */
function settingsOf(env) {
  const isList = (env.IMAGE_DEPLOYMENTS ?? '') !== ''
  const names = new Map(Object.entries(variables).map(([setting, variable]) => [variable, setting]))
  const given = readParameters().flatMap(({ variable }) => {
    const [setting, value] = [names.get(variable) ?? variable, env[variable] ?? '']
    // `azd env set-secret` leaves a reference, which azd resolves later.
    const isLeftOut = value.startsWith('akvs://') || (isList && ofOne.includes(setting))
    return isLeftOut ? [] : [[setting, value]]
  })
  const keys = readKeys(env)
  return {
    ...Object.fromEntries(keySettings(env).map((name) => [name, String(keys[name] ?? 'not-known')])),
    ...(isList ? {} : { AZURE_OPENAI_ENDPOINT: 'https://made.example' }),
    ...Object.fromEntries(given),
    AzureWebJobsStorage: 'UseDevelopmentStorage=true',
  }
}

/** Of what the service says, with no part of a secret. */
function asVariable(line, keys) {
  const [, setting = ''] = /^ {2}(\w+)/.exec(line) ?? []
  const name = variables[setting] ?? (keys.includes(setting) ? `DEPLOYMENT_KEYS.${setting}` : setting)
  return `  ${name}${line.slice(2 + setting.length)}`.replace(
    /found .{3}….{2} \((\d+ characters)\)/,
    'found $1',
  )
}
