/** Values of `infra/main.bicep`'s parameters. */
export type Parameters = Readonly<Record<string, unknown>>

const needed = {
  environmentName: 'ci',
  location: 'westeurope',
  principalId: '00000000-0000-0000-0000-000000000001',
}

export const otherAccount =
  '/subscriptions/00000000-0000-0000-0000-0000000000bb/resourceGroups/models/providers/Microsoft.CognitiveServices/accounts/studio'

const thirdAccount = otherAccount.replace('/models/', '/more/').replace('studio', 'poland')

/** They must be found in the vault, and nowhere else. */
export const secrets = {
  webhookSecrets: `whsec_${Buffer.alloc(32, 'canary').toString('base64')}`,
  modelApiKey: 'canary-of-the-model',
  deploymentKey: 'canary-of-sweden',
} as const

/** Every optional setting of the service that a parameter sets, but those of the list of deployments. */
const everySetting = {
  modelApiVersion: '2025-04-01-preview',
  corsOrigins: 'https://studio.example.com',
  inputHosts: 'images.example.com, *.example.org',
  webhookHosts: 'hooks.corp.example:8080',
  webhookSecrets: secrets.webhookSecrets,
  batchShares: { 'nightly-*': 0.5 },
  prices: { 'gpt-image-2': { image_out: 27.5 } },
  refusalShare: '0.5',
  pace: '0.9',
  maxAttempts: 3,
  callTimeoutSeconds: 300,
}

export const parameterSets = {
  /** What `azd up` makes where nothing is set but what the hook sets. */
  plain: { ...needed, darkroomApiKeys: { ops: { sha256: 'a'.repeat(64), admin: true } } },
  /** After an `azd down`. */
  again: { ...needed, nameGeneration: '1' },
  all: {
    ...needed,
    ...everySetting,
    alertEmail: 'operator@example.com',
    monthlyBudget: 50,
    budgetStart: '2026-01-01',
    privateNetwork: true,
    networkAddresses: '10.20.0.0/16',
    zoneRedundant: true,
    alwaysReadyWorkers: 1,
    instanceMemoryMB: 512,
    imageRetentionDays: 90,
    imageRpm: 9,
    nodeRuntime: '24',
  },
  /** Whoever deploys has the roles already; images are neither moved nor deleted, and the budget was switched off. */
  existing: {
    ...needed,
    modelAccountIds: otherAccount,
    imageDeployment: 'drawings',
    imageCoolDays: 0,
    imageRetentionDays: 0,
    deployerRoles: false,
    monthlyBudget: 0,
    budgetStart: '2026-01-01',
  },
  keyed: { ...needed, principalId: '', modelAccountIds: otherAccount, modelApiKey: secrets.modelApiKey },
  list: {
    ...needed,
    modelAccountIds: `${otherAccount}, ${thirdAccount}`,
    imageDeployments: [
      {
        name: 'sweden',
        endpoint: 'https://a.openai.azure.com',
        deployment: 'gpt-image-2',
        rpm: 6.5,
        key_setting: 'SWEDEN_KEY',
      },
      { name: 'poland', endpoint: 'https://b.openai.azure.com', deployment: 'gpt-image-2', rpm: 9 },
    ],
    deploymentKeys: { SWEDEN_KEY: secrets.deploymentKey },
  },
} as const satisfies Readonly<Record<string, Parameters>>

export type SetName = keyof typeof parameterSets

export const setNames: readonly SetName[] = ['plain', 'again', 'all', 'existing', 'keyed', 'list']

/** Each must be refused, with the name of its parameter. */
export const refusedSets: readonly (readonly [name: string, Parameters])[] = [
  ['environmentName', { ...needed, environmentName: '' }],
  ['imageModel', { ...needed, imageModel: 'dall-e-3' }],
  ['imageModelVersion', { ...needed, imageModel: 'gpt-image-2.5-flare' }],
  ['imageSku', { ...needed, imageSku: 'Standard' }],
  ['imageCapacity', { ...needed, imageCapacity: 0 }],
  ['imageRpm', { ...needed, imageRpm: 60_001 }],
  ['modelAccountIds', { ...needed, modelAccountIds: 'https://studio.openai.azure.com' }],
  ['imageDeployments', { ...needed, imageDeployments: ['sweden'] }],
  ['deploymentKeys', { ...needed, imageDeployments: [{ name: 'sweden', key_setting: 'SWEDEN_KEY' }] }],
  ['maxAttempts', { ...needed, maxAttempts: 101 }],
  ['callTimeoutSeconds', { ...needed, callTimeoutSeconds: 0 }],
  ['nodeRuntime', { ...needed, nodeRuntime: '20' }],
  ['instanceMemoryMB', { ...needed, instanceMemoryMB: 1024 }],
  ['maximumInstanceCount', { ...needed, maximumInstanceCount: 1_001 }],
  ['alwaysReadyWorkers', { ...needed, alwaysReadyWorkers: -1 }],
  ['zoneRedundant', { ...needed, zoneRedundant: 'yes' }],
  ['networkAddresses', { ...needed, privateNetwork: true, networkAddresses: '10.0.0.0/24' }],
  ['networkAddresses', { ...needed, privateNetwork: true, networkAddresses: '10.0.0.0' }],
  ['networkAddresses', { ...needed, privateNetwork: true, networkAddresses: '' }],
  ['deployerRoles', { ...needed, deployerRoles: 'no' }],
  ['imageRetentionDays', { ...needed, imageRetentionDays: -1 }],
  ['logRetentionDays', { ...needed, logRetentionDays: 7 }],
]
