import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { inputContainer } from '../../src/core/requests/input-ref.ts'
import { limits } from '../../src/core/limits.ts'
import { readSettings, singleDeploymentNames } from '../../src/settings.ts'
import { settingTable } from '../../src/settings/table.ts'
import { fileContainer } from '../../src/storage/blobs/file-contents.ts'
import { imageContainer } from '../../src/storage/blobs/images.ts'
import { poisonName, queueNames } from '../../src/storage/queues.ts'
import { rootDir } from '../architecture/sources.ts'
import type { Evaluated } from './evaluated.ts'
import { alerts } from './expected-alerts.ts'
import { resourceCounts, rolesOf, secretsOf } from './expected-resources.ts'
import { all, at, lastNames, only, type Resource, type Wanted } from './found.ts'
import { parameterSets, secrets, type SetName } from './sets.ts'

/** Everything in which what would be made differs from what is wanted of it. */
export function faultsOf(set: SetName, evaluated: Evaluated): readonly string[] {
  const faults: string[] = []
  const wanted: Wanted = (what, found, expected) => {
    if (isDeepStrictEqual(found, expected)) return
    faults.push(`${what}: found ${JSON.stringify(found)}; wanted ${JSON.stringify(expected)}`)
  }
  const { predictedResources: resources } = evaluated
  wanted('diagnostics', evaluated.diagnostics, [])
  const [found, expected] = [countsOf(resources), resourceCounts[set]]
  wanted(
    'resources too many',
    found.filter((count) => !expected.includes(count)),
    [],
  )
  wanted(
    'resources missing',
    expected.filter((count) => !found.includes(count)),
    [],
  )
  wanted('roles', rolesIn(resources), rolesOf(set))
  storage(set, resources, wanted)
  functionApp(set, resources, wanted)
  settings(set, resources, wanted)
  others(set, resources, wanted)
  alerts(resources, wanted)
  leaks(set, evaluated, wanted)
  if (set === 'existing')
    wanted(
      'the start of a budget that was switched off',
      evaluated.outputs['BUDGET_START'],
      parameterSets.existing.budgetStart,
    )
  wanted(
    'outputs',
    Object.keys(evaluated.outputs).sort(),
    ['AZURE_RESOURCE_GROUP', 'BUDGET_START', ...outputsOfOurs].sort(),
  )
  return faults
}

const outputsOfOurs = ['ENDPOINT', 'FUNCTION_APP', 'STORAGE_ACCOUNT', 'RATE_LIMITS'].map(
  (name) => `DARKROOM_${name}`,
)

/** Those of which somebody outside might be let in, or paid calls cut off, by one word. */
function functionApp(set: SetName, resources: readonly Resource[], wanted: Wanted): void {
  const site = only(resources, 'Microsoft.Web/sites')
  const config = at(site, 'properties', 'functionAppConfig')
  const isAll = set === 'all'
  wanted('httpsOnly', at(site, 'properties', 'httpsOnly'), true)
  wanted('tag that azd looks for', at(site, 'tags', 'azd-service-name'), serviceName())
  wanted('siteUpdateStrategy', at(config, 'siteUpdateStrategy'), { type: 'RollingUpdate' })
  wanted('http concurrency', at(config, 'scaleAndConcurrency', 'triggers'), {
    http: { perInstanceConcurrency: 100 },
  })
  wanted(
    'always ready',
    at(config, 'scaleAndConcurrency', 'alwaysReady'),
    isAll ? [{ name: 'function:image-work', instanceCount: 2 }] : [],
  )
  wanted(
    'a function image-work',
    /app\.storageQueue\('image-work'/.test(source('functions/image-work.ts')),
    true,
  )
  wanted('runtime', at(config, 'runtime'), { name: 'node', version: isAll ? '24' : '22' })
  wanted(
    'package by identity',
    at(config, 'deployment', 'storage', 'authentication', 'type'),
    'UserAssignedIdentity',
  )
  wanted('references by identity', typeof at(site, 'properties', 'keyVaultReferenceIdentity'), 'string')
  wanted('in a subnet', at(site, 'properties', 'virtualNetworkSubnetId') !== null, isAll)
  wanted('zones', at(only(resources, 'Microsoft.Web/serverfarms'), 'properties', 'zoneRedundant'), isAll)
  for (const door of all(resources, 'Microsoft.Web/sites/basicPublishingCredentialsPolicies')) {
    wanted(`password for ${door.name}`, at(door, 'properties', 'allow'), false)
  }
}

function storage(set: SetName, resources: readonly Resource[], wanted: Wanted): void {
  const account = only(resources, 'Microsoft.Storage/storageAccounts')
  const isAll = set === 'all'
  for (const [property, value] of Object.entries({
    allowBlobPublicAccess: false,
    allowSharedKeyAccess: false,
    allowCrossTenantReplication: false,
    supportsHttpsTrafficOnly: true,
    minimumTlsVersion: 'TLS1_2',
    publicNetworkAccess: isAll ? 'Disabled' : 'Enabled',
    networkAcls: { bypass: 'AzureServices', defaultAction: isAll ? 'Deny' : 'Allow' },
  })) {
    wanted(`storage ${property}`, at(account, 'properties', property), value)
  }
  wanted('storage sku', at(account, 'sku', 'name'), isAll ? 'Standard_ZRS' : 'Standard_LRS')
  const queues = Object.values(queueNames)
  const containers = all(resources, 'Microsoft.Storage/storageAccounts/blobServices/containers')
  wanted(
    'containers',
    lastNames(containers),
    [imageContainer, fileContainer, inputContainer, 'app-package'].sort(),
  )
  for (const container of containers) {
    wanted(`public access to ${container.name}`, at(container, 'properties', 'publicAccess'), 'None')
  }
  wanted(
    'queues',
    lastNames(all(resources, 'Microsoft.Storage/storageAccounts/queueServices/queues')),
    [...queues, ...queues.map(poisonName)].sort(),
  )
  wanted(
    'tables',
    lastNames(all(resources, 'Microsoft.Storage/storageAccounts/tableServices/tables')),
    tablesOfTheCode().toSorted(),
  )
  const rules = all(resources, 'Microsoft.Storage/storageAccounts/managementPolicies').map((policy) =>
    at(policy, 'properties', 'policy', 'rules'),
  )
  const images = { blobTypes: ['blockBlob'], prefixMatch: ['images/'] }
  const [coolDays, retentionDays] = set === 'existing' ? [0, 0] : [30, isAll ? 90 : 0]
  const rule = (name: string, days: number, action: string): object => ({
    name,
    // One that is left out stays as it was, and goes on deleting.
    enabled: days > 0,
    type: 'Lifecycle',
    definition: {
      filters: images,
      actions: { baseBlob: { [action]: { daysAfterModificationGreaterThan: Math.max(1, days) } } },
    },
  })
  wanted('what is kept', rules, [
    [rule('images-cool', coolDays, 'tierToCool'), rule('images-delete', retentionDays, 'delete')],
  ])
}

/** The names are those of the table, and what they hold is what the service itself would take. */
function settings(set: SetName, resources: readonly Resource[], wanted: Wanted): void {
  const found = settingsIn(resources)
  const always = settingTable.filter(({ inAzure }) => inAzure === 'always').map(({ name }) => name)
  const byParameter = settingTable.filter(({ inAzure }) => inAzure === 'by parameter').map(({ name }) => name)
  const names: Readonly<Record<SetName, readonly string[]>> = {
    plain: always,
    again: always,
    existing: always,
    keyed: [...always, 'AZURE_OPENAI_API_KEY'],
    list: [
      ...always.filter((name) => !singleDeploymentNames.includes(name)),
      'IMAGE_DEPLOYMENTS',
      'SWEDEN_KEY',
    ],
    all: [
      ...always,
      ...byParameter.filter((name) => !['IMAGE_DEPLOYMENTS', 'AZURE_OPENAI_API_KEY'].includes(name)),
    ],
  }
  wanted('settings', Object.keys(found).sort(), names[set].toSorted())
  wanted('body limit', found['FUNCTIONS_REQUEST_BODY_SIZE_LIMIT'], String(limits.hostBodyBytesMax))
  wanted('settings that the service refuses', refusal(found), '')
  const inVault = Object.entries(found).filter(([, value]) => value.startsWith('@'))
  for (const { name } of settingTable.filter(({ isSecret }) => isSecret)) {
    if (name in found) wanted(`${name} in a vault`, inVault.map(([each]) => each).includes(name), true)
  }
  const kept = all(resources, 'Microsoft.KeyVault/vaults/secrets').map(
    (secret) => `/${secret.name.split('/')[1]}`,
  )
  const named = inVault.map(
    ([, value]) => `/${/^@Microsoft\.KeyVault\(VaultName=kv-\w{13};SecretName=([\w-]+)\)$/.exec(value)?.[1]}`,
  )
  wanted('secrets that settings name', named.toSorted(), kept.toSorted())
}

export function settingsIn(resources: readonly Resource[]): Readonly<Record<string, string>> {
  const { properties } = only(resources, 'Microsoft.Web/sites/config')
  return Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, String(value)]))
}

/** With what only Azure knows filled in, and references resolved. */
function refusal(found: Readonly<Record<string, string>>): string {
  const filled = Object.entries(found).map(([name, value]) => {
    if (value.startsWith('@')) return [name, name === 'WEBHOOK_SECRETS' ? secrets.webhookSecrets : 'a-key']
    if (!value.startsWith('[reference')) return [name, value]
    return [name, /clientId/i.test(name) ? '00000000-0000-0000-0000-000000000000' : 'https://made.example/']
  })
  try {
    readSettings(Object.fromEntries(filled))
    return ''
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function others(set: SetName, resources: readonly Resource[], wanted: Wanted): void {
  for (const account of all(resources, 'Microsoft.CognitiveServices/accounts')) {
    wanted('keys of the model account', at(account, 'properties', 'disableLocalAuth'), true)
    wanted('its own address', at(account, 'properties', 'customSubDomainName'), account.name)
  }
  for (const made of all(resources, 'Microsoft.CognitiveServices/accounts/deployments')) {
    wanted('model', at(made, 'properties', 'model'), {
      format: 'OpenAI',
      name: 'gpt-image-2',
      version: '2026-04-21',
    })
    wanted('upgrades', at(made, 'properties', 'versionUpgradeOption'), 'NoAutoUpgrade')
    wanted('sku', at(made, 'sku'), { name: 'GlobalStandard', capacity: 1 })
  }
  for (const insights of all(resources, 'Microsoft.Insights/components')) {
    wanted('keys of Application Insights', at(insights, 'properties', 'DisableLocalAuth'), true)
  }
  for (const vault of all(resources, 'Microsoft.KeyVault/vaults')) {
    wanted('vault by roles', at(vault, 'properties', 'enableRbacAuthorization'), true)
    wanted('vault that can be purged', at(vault, 'properties', 'enablePurgeProtection'), undefined)
  }
  wanted(
    'private endpoints',
    all(resources, 'Microsoft.Network/privateEndpoints').map((endpoint) => endpoint.name.split('-')[1]),
    set === 'all' ? ['blob', 'queue', 'table'] : [],
  )
  for (const budget of all(resources, 'Microsoft.Consumption/budgets')) {
    wanted(
      'start of the budget',
      at(budget, 'properties', 'timePeriod', 'startDate'),
      parameterSets.all.budgetStart,
    )
  }
  wanted(
    'conditions that nobody can foresee',
    resources.filter(({ condition }) => condition !== undefined),
    [],
  )
}

/** A secret is in the vault. Anywhere else it is found by whoever may look at a deployment. */
function leaks(set: SetName, { predictedResources, diagnostics, outputs }: Evaluated, wanted: Wanted): void {
  const isVault = ({ type }: Resource): boolean => type === 'Microsoft.KeyVault/vaults/secrets'
  const held = predictedResources.filter(isVault).map((secret) => at(secret, 'properties', 'value'))
  wanted('what the vault holds', held, secretsOf(set))
  const open = JSON.stringify([predictedResources.filter((each) => !isVault(each)), diagnostics, outputs])
  for (const [name, secret] of Object.entries(secrets))
    wanted(`${name} outside of the vault`, open.includes(secret), false)
}

function rolesIn(resources: readonly Resource[]): readonly string[] {
  return all(resources, 'Microsoft.Authorization/roleAssignments')
    .map((assignment) => {
      const role = String(at(assignment, 'properties', 'roleDefinitionId'))
        .split('/')
        .at(-1)
      const scope = /\/providers\/(Microsoft\.\w+\/\w+)\/([^/']+)/.exec(assignment.id)
      const principal = String(at(assignment, 'properties', 'principalId'))
      const who =
        principal === parameterSets.plain.principalId
          ? 'deployer'
          : /identity-/.test(principal)
            ? 'identity'
            : principal
      return `${who}: ${role} on ${scope?.[1]} ${scope?.[2]?.replace(/\w{13}$/, '…')}`
    })
    .toSorted()
}

function countsOf(resources: readonly Resource[]): readonly string[] {
  const types = Map.groupBy(resources, ({ type }) => type.replace(/^Microsoft\./, ''))
  return [...types].map(([type, { length }]) => `${type}: ${length}`).toSorted()
}

function source(path: string): string {
  return readFileSync(join(rootDir, 'src', path), 'utf8')
}

function serviceName(): string | undefined {
  return /^services:\n {2}(\w+):/m.exec(readFileSync(join(rootDir, 'azure.yaml'), 'utf8'))?.[1]
}

/** They are made at the service's first call, by the one who builds it. */
function tablesOfTheCode(): readonly string[] {
  const [, names = ''] = /const tableNames = \{([^}]*)\}/.exec(source('app.ts')) ?? []
  return [...names.matchAll(/'(\w+)'/g)].map(([, name]) => name!)
}
