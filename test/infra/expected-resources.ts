import { secrets, type SetName } from './sets.ts'

const everywhere = {
  'Authorization/roleAssignments': 8,
  'Insights/components': 1,
  'ManagedIdentity/userAssignedIdentities': 1,
  'OperationalInsights/workspaces': 1,
  'Resources/resourceGroups': 1,
  'Storage/storageAccounts': 1,
  'Storage/storageAccounts/blobServices': 1,
  'Storage/storageAccounts/blobServices/containers': 4,
  'Storage/storageAccounts/managementPolicies': 1,
  'Storage/storageAccounts/queueServices': 1,
  'Storage/storageAccounts/queueServices/queues': 10,
  'Storage/storageAccounts/tableServices': 1,
  'Storage/storageAccounts/tableServices/tables': 4,
  'Web/serverfarms': 1,
  'Web/sites': 1,
  'Web/sites/basicPublishingCredentialsPolicies': 2,
  'Web/sites/config': 1,
}

const ownModel = {
  'CognitiveServices/accounts': 1,
  'CognitiveServices/accounts/deployments': 1,
  'Insights/diagnosticSettings': 1,
}

/** How many resources of each type; a role for each of storage's services, telemetry and the model. */
export const resourceCounts: Readonly<Record<SetName, readonly string[]>> = {
  plain: listed({ ...everywhere, ...ownModel, 'Authorization/roleAssignments': 9 }),
  again: listed({ ...everywhere, ...ownModel, 'Authorization/roleAssignments': 9 }),
  existing: listed({ ...everywhere, 'Authorization/roleAssignments': 5 }),
  keyed: listed({
    ...everywhere,
    'Authorization/roleAssignments': 5,
    'KeyVault/vaults': 1,
    'KeyVault/vaults/secrets': 1,
  }),
  list: listed({
    ...everywhere,
    'Authorization/roleAssignments': 12,
    'KeyVault/vaults': 1,
    'KeyVault/vaults/secrets': 1,
  }),
  all: listed({
    ...everywhere,
    ...ownModel,
    'Authorization/roleAssignments': 10,
    'Consumption/budgets': 1,
    'Insights/actionGroups': 1,
    'Insights/scheduledQueryRules': 7,
    'KeyVault/vaults': 1,
    'KeyVault/vaults/secrets': 1,
    'Network/privateDnsZones': 3,
    'Network/privateDnsZones/virtualNetworkLinks': 3,
    'Network/privateEndpoints': 3,
    'Network/privateEndpoints/privateDnsZoneGroups': 3,
    'Network/virtualNetworks': 1,
  }),
}

function listed(counts: Readonly<Record<string, number>>): readonly string[] {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([type, count]) => `${type}: ${count}`)
}

/** Source of the ids: Microsoft's list of built-in roles. */
const roles = {
  blobOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b',
  queueContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88',
  tableContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3',
  metricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb',
  openAiUser: '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd',
  secretsUser: '4633458b-17de-408a-b874-0445c86b69e6',
}

/** Who may do what, and where. */
export function rolesOf(set: SetName): readonly string[] {
  const who = set === 'keyed' || set === 'existing' ? ['identity'] : ['identity', 'deployer']
  const onStorage = [roles.blobOwner, roles.queueContributor, roles.tableContributor]
  const models: Readonly<Record<SetName, readonly string[]>> = {
    plain: ['oai-darkroom-…'],
    again: ['oai-darkroom-…'],
    all: ['oai-darkroom-…'],
    existing: ['studio'],
    keyed: [],
    list: ['studio', 'poland'],
  }
  const hasVault = secretsOf(set).length > 0
  return [
    ...who.flatMap((each) =>
      onStorage.map((role) => `${each}: ${role} on Microsoft.Storage/storageAccounts st…`),
    ),
    ...who.flatMap((each) =>
      models[set].map(
        (account) => `${each}: ${roles.openAiUser} on Microsoft.CognitiveServices/accounts ${account}`,
      ),
    ),
    `identity: ${roles.metricsPublisher} on Microsoft.Insights/components appi-darkroom-…`,
    ...(hasVault ? [`identity: ${roles.secretsUser} on Microsoft.KeyVault/vaults kv-…`] : []),
  ].toSorted()
}

/** What the vault of a set holds; without any there is no vault. */
export function secretsOf(set: SetName): readonly string[] {
  const held: Partial<Record<SetName, readonly string[]>> = {
    all: [secrets.webhookSecrets],
    keyed: [secrets.modelApiKey],
    list: [secrets.deploymentKey],
  }
  return held[set] ?? []
}
