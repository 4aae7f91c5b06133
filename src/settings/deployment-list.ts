import { z } from 'zod'
import { isRecord, nameOf, readJson } from '../core/json.ts'
import { limits } from '../core/limits.ts'
import { profileNamed, profileOfDeployment } from '../core/requests/profiles.ts'
import {
  addressOf,
  apiVersionField,
  contradictions,
  endpointField,
  nameField,
  targetUriField,
  targetUriForm,
} from './address.ts'
import {
  keyField,
  maskedSecret,
  modelField,
  readFields,
  rpmBounds,
  textOf,
  type Environment,
  type Fault,
} from './fields.ts'
import { faultsBetween, type Entry } from './list-rules.ts'
import type { ConfiguredDeployment } from './pools.ts'
import { unresolvedReference } from './references.ts'

type DeploymentList = {
  readonly configured: readonly ConfiguredDeployment[]
  readonly faults: readonly Fault[]
  /** The settings that hold the keys. */
  readonly keySettings: readonly string[]
}

const setting = 'IMAGE_DEPLOYMENTS'

/** Every field is optional here, so that one that lacks is a fault beside the others. */
const entrySchema = z.strictObject({
  name: nameField.optional(),
  target_uri: targetUriField.optional(),
  endpoint: endpointField.optional(),
  deployment: nameField.optional(),
  api_version: apiVersionField.optional(),
  key_setting: textOf(/^[A-Za-z0-9_.]{1,128}$/, 'the name of the setting that holds the key').optional(),
  rpm: z
    .number(rpmBounds.wanted)
    .min(rpmBounds.min, rpmBounds.wanted)
    .max(rpmBounds.max, rpmBounds.wanted)
    .optional(),
  model: modelField.optional(),
  quota_group: nameField.optional(),
})

/**
 * The deployments of IMAGE_DEPLOYMENTS, or every fault in it. A key comes from the setting that its entry names, but
 * never from one of `reserved`: what it holds is sent to the endpoint.
 */
export function readDeploymentList(
  text: string,
  options: {
    readonly environment: Environment
    readonly reserved: readonly string[]
    readonly clientId: string | undefined
  },
): DeploymentList {
  const items = itemsOf(text)
  if (typeof items === 'string') {
    const wanted = `a JSON array of 1 to ${limits.deploymentsMax} deployments`
    return { configured: [], faults: [{ name: setting, found: items, wanted }], keySettings: [] }
  }
  const read = items.map((item, index) => readEntry(item, `${setting}[${index}]`))
  const entries = read.map(({ entry }) => entry)
  const keys = readKeys(entries, options)
  return {
    configured: entries.flatMap((entry) => configuredBy(entry, keys.values, options.clientId) ?? []),
    faults: [...read.flatMap(({ faults }) => faults), ...faultsBetween(entries), ...keys.faults],
    keySettings: entries.flatMap(({ keySetting }) => keySetting ?? []),
  }
}

/** The list's items, or what was found in their place. */
function itemsOf(text: string): readonly unknown[] | string {
  const json = readJson(text)
  if (json.kind === 'unreadable') return `${text.length} characters that are not JSON (${json.reason})`
  if (!Array.isArray(json.value)) return nameOf(json.value)
  const { length } = json.value
  return length === 0 || length > limits.deploymentsMax ? `an array of ${length}` : json.value
}

function readEntry(item: unknown, at: string): { readonly entry: Entry; readonly faults: readonly Fault[] } {
  const found = isRecord(item) ? item : {}
  const { values, wanted } = readFields(entrySchema, found)
  const said = {
    target: values.target_uri,
    endpoint: values.endpoint,
    deployment: values.deployment,
    apiVersion: values.api_version,
  }
  const isAddressRead = addressFields.every((field) => !wanted.has(field))
  const address = isAddressRead ? addressOf(said, values.name) : undefined
  const profile =
    values.model === undefined
      ? address && profileOfDeployment(address.deployment)
      : profileNamed(values.model)
  const entry = {
    at,
    name: values.name,
    address,
    profile: wanted.has('model') ? undefined : profile,
    rpm: values.rpm,
    quotaGroup: values.quota_group,
    keySetting: values.key_setting,
  }
  if (!isRecord(item)) {
    const fields = Object.keys(entrySchema.shape).join(', ')
    return { entry, faults: [{ name: at, found: nameOf(item), wanted: `an object with ${fields}` }] }
  }
  const unreadable = [...wanted].map(([field, what]) => ({
    name: `${at}.${field.slice(0, limits.quotedValueCharsMax)}`,
    found: shown(field, found[field]),
    wanted: what,
  }))
  return { entry, faults: [...missing(found, at), ...unreadable, ...contradictions(said, addressNames(at))] }
}

const addressFields = ['target_uri', 'endpoint', 'deployment', 'api_version'] as const

function addressNames(at: string) {
  return {
    target: `${at}.target_uri`,
    endpoint: `${at}.endpoint`,
    deployment: `${at}.deployment`,
    apiVersion: `${at}.api_version`,
  }
}

function missing(found: Readonly<Record<string, unknown>>, at: string): readonly Fault[] {
  const wanted = {
    name: 'a name of your own for the deployment: 1 to 64 of A-Z a-z 0-9 . _ -',
    rpm: rpmBounds.wanted,
    ...('endpoint' in found ? {} : { target_uri: `${targetUriForm}; or endpoint` }),
  }
  return Object.entries(wanted)
    .filter(([field]) => !(field in found))
    .map(([field, what]) => ({ name: `${at}.${field}`, found: 'nothing', wanted: what }))
}

/** A key that was put in the wrong place is not shown. */
function shown(field: string, value: unknown): string {
  if (!Object.hasOwn(entrySchema.shape, field)) return 'an unknown field'
  if (typeof value === 'object') return nameOf(value)
  if (field === 'key_setting' && typeof value === 'string') return shownKeySetting(value)
  return JSON.stringify(value).slice(0, 200)
}

/** Keys are long and have no underscores, names of settings are short or have some. */
function shownKeySetting(text: string): string {
  return text.length < 32 || /^[A-Z0-9]+(_[A-Z0-9]+)+$/.test(text) ? JSON.stringify(text) : maskedSecret(text)
}

function readKeys(
  entries: readonly Entry[],
  { environment, reserved }: { readonly environment: Environment; readonly reserved: readonly string[] },
): { readonly values: ReadonlyMap<string, string>; readonly faults: readonly Fault[] } {
  const values = new Map<string, string>()
  const faults: Fault[] = []
  for (const [name, users] of Map.groupBy(entries, ({ keySetting }) => keySetting)) {
    if (name === undefined) continue
    const found = Object.hasOwn(environment, name) ? (environment[name]?.trim() ?? '') : ''
    const refused = reserved.includes(name)
      ? 'a setting that holds nothing but the key'
      : found === ''
        ? 'the name of a setting that is there and holds the key; without key_setting Entra ID is used'
        : undefined
    const unresolved = unresolvedReference(name, found)
    const parsed = keyField.safeParse(found)
    if (refused !== undefined) {
      const from = users.map(({ at }) => `${at}.key_setting`)
      faults.push(...from.map((at) => ({ name: at, found: shownKeySetting(name), wanted: refused })))
    } else if (unresolved !== undefined) {
      faults.push(unresolved)
    } else if (parsed.success) {
      values.set(name, parsed.data)
    } else {
      const wanted = `a key without spaces, as ${setting} names it for one`
      faults.push({ name, found: maskedSecret(found), wanted })
    }
  }
  return { values, faults }
}

/** Undefined while the entry has faults. */
function configuredBy(
  { name, address, profile, rpm, quotaGroup, keySetting }: Entry,
  keys: ReadonlyMap<string, string>,
  clientId: string | undefined,
): ConfiguredDeployment | undefined {
  if (name === undefined || address === undefined || profile === undefined || rpm === undefined)
    return undefined
  const apiKey = keySetting === undefined ? undefined : keys.get(keySetting)
  return { deployment: { name, ...address, apiKey, clientId }, profile, rpm, quota: quotaGroup ?? name }
}
