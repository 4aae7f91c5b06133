import { alertBreaks } from './alert-breaks.ts'
import type { Evaluated } from './evaluated.ts'
import { secrets, type SetName } from './sets.ts'

export type Break = {
  readonly what: string
  readonly set: SetName
  readonly change: (evaluated: Evaluated) => void
}

/** Each is a mistake that the check must find. */
export const breaks: readonly Break[] = [
  { what: 'a queue is gone', set: 'plain', change: without(/queues$/, /pacer-poison/) },
  { what: 'a table is gone', set: 'plain', change: without(/tables$/, /batches/) },
  { what: 'a container is open to all', set: 'plain', change: set(/containers$/, 'publicAccess', 'Blob') },
  {
    what: 'a rule that deletes images stays switched on',
    set: 'existing',
    change: ({ predictedResources }) => {
      const policy = predictedResources.find(({ type }) => type.endsWith('/managementPolicies'))!
      policy.properties['policy'] = { rules: [] }
    },
  },
  ...alertBreaks,
  { what: 'receivers are switched off', set: 'all', change: set(/actionGroups$/, 'enabled', false) },
  { what: 'there are no receivers', set: 'all', change: set(/actionGroups$/, 'emailReceivers', []) },
  {
    what: 'the start of a budget is lost with the budget',
    set: 'existing',
    change: ({ outputs }) => void (outputs['BUDGET_START'] = ''),
  },
  { what: 'storage takes keys', set: 'plain', change: set(/storageAccounts$/, 'allowSharedKeyAccess', true) },
  {
    what: 'a private storage is public',
    set: 'all',
    change: set(/storageAccounts$/, 'publicNetworkAccess', 'Enabled'),
  },
  { what: 'an endpoint of storage is gone', set: 'all', change: without(/privateEndpoints$/, /table/) },
  {
    what: 'the model account takes keys',
    set: 'plain',
    change: set(/CognitiveServices\/accounts$/, 'disableLocalAuth', false),
  },
  { what: 'the site takes plain http', set: 'plain', change: set(/Web\/sites$/, 'httpsOnly', false) },
  { what: 'the site takes passwords', set: 'plain', change: set(/basicPublishing/, 'allow', true) },
  {
    what: 'a role is another one',
    set: 'plain',
    change: set(/roleAssignments$/, 'roleDefinitionId', '/Owner'),
  },
  {
    what: 'the start of the budget moves',
    set: 'all',
    change: set(/budgets$/, 'timePeriod', { startDate: '2026-02-01' }),
  },
  { what: 'the vault cannot be purged', set: 'all', change: set(/vaults$/, 'enablePurgeProtection', true) },
  { what: 'a setting is missing', set: 'plain', change: set(/sites\/config$/, 'IMAGE_MODEL', undefined) },
  { what: 'a setting is too much', set: 'plain', change: set(/sites\/config$/, 'AZURE_API_KEY', 'x') },
  { what: 'a setting has a value that is none', set: 'all', change: set(/sites\/config$/, 'PACE', 'fast') },
  {
    what: 'a secret is a plain setting',
    set: 'all',
    change: set(/sites\/config$/, 'WEBHOOK_SECRETS', secrets.webhookSecrets),
  },
  {
    what: 'a reference names another secret',
    set: 'keyed',
    change: set(
      /sites\/config$/,
      'AZURE_OPENAI_API_KEY',
      '@Microsoft.KeyVault(VaultName=kv-0123456789abc;SecretName=other)',
    ),
  },
  {
    what: 'a secret is an output',
    set: 'list',
    change: ({ outputs }) => void (outputs['DARKROOM_ENDPOINT'] = secrets.deploymentKey),
  },
]

function without(type: RegExp, name: RegExp): Break['change'] {
  return (evaluated) => {
    evaluated.predictedResources = evaluated.predictedResources.filter(
      (resource) => !(type.test(resource.type) && name.test(resource.name)),
    )
  }
}

function set(type: RegExp, property: string, value: unknown): Break['change'] {
  return ({ predictedResources }) => {
    const { properties } = predictedResources.find((resource) => type.test(resource.type))!
    if (value === undefined) delete properties[property]
    else properties[property] = value
  }
}
