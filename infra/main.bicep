targetScope = 'subscription'

import { Place } from 'modules/place.bicep'
import { secretName } from 'modules/vault.bicep'

// Every parameter is set with `azd env set NAME VALUE`: imageRpm is IMAGE_RPM. docs/deploy.md says more of them.

@description('Name of the azd environment: the resource group and the tags are called after it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything but the model.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('Who deploys: gets the data of the storage account, and the model, from a machine of their own. Empty: nobody.')
param principalId string = ''

@description('Whether the deployment gives those roles. False: they are there already, under names that Azure gave them.')
param deployerRoles bool = true

@description('Set by a hook after `azd down`: deleted accounts and vaults keep their names for days.')
@maxLength(10)
param nameGeneration string = ''

// The model

@description('The image model. A version of it is known for those that Azure has; see imageModelVersion.')
@allowed([
  'gpt-image-1'
  'gpt-image-1-mini'
  'gpt-image-1.5'
  'gpt-image-2'
  'gpt-image-2.5-flare'
  'gpt-image-2.5-sunburst'
  'gpt-image-2.6-flare'
  'gpt-image-2.6-sunburst'
])
param imageModel string = 'gpt-image-2'

@description('Its version, as Azure has it. Empty: the known one.')
@maxLength(32)
param imageModelVersion string = ''

@description('Name of the deployment: one to be made, or one of an existing account. Empty: that of the model.')
@maxLength(64)
param imageDeployment string = ''

@description('Where Azure works for the deployment: anywhere, or within one data zone.')
@allowed(['GlobalStandard', 'DataZoneStandard'])
param imageSku string = 'GlobalStandard'

@description('Units of quota for a deployment to be made. They are no requests a minute: those are read back.')
@minValue(1)
@maxValue(10000)
param imageCapacity int = 1

@description('Requests a minute that the deployment allows. The default is that of gpt-image-2 in a new subscription.')
@minValue(1)
@maxValue(60000)
param imageRpm int = 6

@description('Region of the model account, where the model is not in that of the rest. Empty: the same.')
param modelLocation string = ''

@description('Resource ids of accounts that are there already, with commas. None is made then; the first has the deployment.')
param modelAccountIds string = ''

@description('Key of the first of those accounts, where it takes no identities; it goes to a vault.')
@secure()
param modelApiKey string = ''

@description('Version of the API that the deployment is spoken to in. Empty: the default of the code.')
@maxLength(32)
param modelApiVersion string = ''

@description('Several deployments instead of one: the setting IMAGE_DEPLOYMENTS.')
param imageDeployments object[] = []

@description('The keys of those that have a key_setting, by its name; they go to a vault.')
@secure()
param deploymentKeys object = {}

// The service

@description('Hashes of the API keys: the setting DARKROOM_API_KEYS, as `npm run key` prints it.')
param darkroomApiKeys object = {}

@description('Web pages that may call the service, with commas.')
param corsOrigins string = ''

@description('Hosts whose images edits may start from, with commas.')
param inputHosts string = ''

@description('Hosts that webhooks may reach by http or at private addresses, with commas.')
param webhookHosts string = ''

@description('What signs webhooks, with commas, the newest first; it goes to a vault. Empty: no webhooks.')
@secure()
param webhookSecrets string = ''

@description('What batches get beside others: the setting BATCH_SHARES.')
param batchShares object = {}

@description('Prices that differ from the list: the setting PRICES.')
param prices object = {}

@description('Share of a batch\'s newest jobs that may be refused, from 0.02 to 1. Empty: the default of the code.')
@maxLength(8)
param refusalShare string = ''

@description('Share of the requests a minute that is used, from 0.01 to 1. Empty: the default of the code.')
@maxLength(8)
param pace string = ''

@description('Calls per job before it fails.')
@minValue(1)
@maxValue(100)
param maxAttempts int?

@description('How long one call may take. Above 540, an update of the platform may cut it off.')
@minValue(1)
@maxValue(1500)
param callTimeoutSeconds int?

// The function app

@description('Version of Node that the functions run on.')
@allowed(['22', '24'])
param nodeRuntime string = '22'

@description('Memory of an instance. 512 is enough for a low pace without edits.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Instances at most, for each group of functions.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that always stand ready to call the model. At few requests a minute others are taken away in between.')
@minValue(0)
@maxValue(100)
param alwaysReadyWorkers int = 0

@description('Storage and functions over several zones of the region. Not every region has them.')
param zoneRedundant bool = false

@description('Storage is reached through a virtual network only.')
param privateNetwork bool = false

@description('Addresses of that network.')
@minLength(9)
@maxLength(18)
param networkAddresses string = '10.0.0.0/16'

// What is kept, what is told

@description('Days until images are moved to a tier that costs less to keep and more to read. 0: never.')
@minValue(0)
@maxValue(3650)
param imageCoolDays int = 30

@description('Days until images are deleted. 0: never.')
@minValue(0)
@maxValue(3650)
param imageRetentionDays int = 0

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs a day at most. 0: no bound.')
@minValue(0)
@maxValue(1000)
param logGbPerDay int = 5

@description('Who is told of alerts and of money. Empty: no alerts are made.')
param alertEmail string = ''

@description('What the resource group may cost a month, in the currency of the subscription. 0: no budget.')
@minValue(0)
param monthlyBudget int = 0

@description('First day of the budget. azd keeps it from when the budget was made, for it cannot be changed.')
param budgetStart string = ''

// Azure refuses a second assignment of the same role to the same person, whatever its name.
var deployerPrincipalId = deployerRoles ? principalId : ''

var tags = { 'azd-env-name': environmentName }
var token = uniqueString(subscription().id, environmentName, location)
var freshToken = empty(nameGeneration)
  ? token
  : uniqueString(subscription().id, environmentName, location, nameGeneration)

// What stays behind deleted, under its name, is called another way the next time.
var vaultName = 'kv-${freshToken}'

var place Place = { location: location, tags: tags, token: token }

var knownVersions = {
  'gpt-image-1-mini': '2025-10-06'
  'gpt-image-1.5': '2025-12-16'
  'gpt-image-2': '2026-04-21'
}

var accountIdForm = 'ids of Azure OpenAI accounts: /subscriptions/…/resourceGroups/…/providers/Microsoft.CognitiveServices/accounts/NAME'
var accountIds = map(
  empty(modelAccountIds) ? [] : split(modelAccountIds, ','),
  id =>
    length(split(trim(id), '/')) == 9 && contains(toLower(id), '/providers/microsoft.cognitiveservices/accounts/')
      ? trim(id)
      : fail('modelAccountIds: found ${id}; wanted ${accountIdForm}')
)

var isList = !empty(imageDeployments)
var isOwnModel = empty(accountIds) && !isList
var deployment = empty(imageDeployment) ? imageModel : imageDeployment

// Names are no secret. What is made in a loop must not depend on anything secret, or nobody could foresee the deployment.
var keySettings = union(
  map(filter(imageDeployments, each => contains(each, 'key_setting')), each => string(each.key_setting)),
  []
)
var usesKey = !empty(modelApiKey) && !isOwnModel && !isList
var hasVault = !empty(webhookSecrets) || usesKey || !empty(keySettings)

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: { place: place }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  scope: group
  params: {
    place: place
    // Three blocks of 256 must fit.
    addressPrefix: contains(map(range(8, 15), bits => string(bits)), last(split(networkAddresses, '/')))
      ? networkAddresses
      : fail('networkAddresses: found ${networkAddresses}; wanted a network of /8 to /22, such as 10.0.0.0/16')
  }
}

module storage 'modules/storage.bicep' = {
  scope: group
  params: {
    place: place
    identityPrincipalId: identity.outputs.principalId
    deployerPrincipalId: deployerPrincipalId
    isPrivate: privateNetwork
    isZoneRedundant: zoneRedundant
    coolDays: imageCoolDays
    retentionDays: imageRetentionDays
  }
}

module endpoints 'modules/endpoints.bicep' = if (privateNetwork) {
  scope: group
  params: {
    place: place
    subnetId: network!.outputs.endpointsSubnetId
    networkId: network!.outputs.id
    storageId: storage.outputs.id
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    place: place
    identityPrincipalId: identity.outputs.principalId
    retentionDays: logRetentionDays
    gbPerDay: logGbPerDay
  }
}

module model 'modules/model.bicep' = if (isOwnModel) {
  scope: group
  params: {
    place: { ...place, location: empty(modelLocation) ? location : modelLocation }
    accountName: 'oai-darkroom-${freshToken}'
    identityPrincipalId: identity.outputs.principalId
    deployerPrincipalId: deployerPrincipalId
    modelName: imageModel
    modelVersion: !empty(imageModelVersion)
      ? imageModelVersion
      : knownVersions[?imageModel] ?? fail('imageModelVersion: nothing found; wanted the version of ${imageModel} that Azure has')
    deploymentName: deployment
    skuName: imageSku
    capacity: imageCapacity
    workspaceId: monitoring.outputs.workspaceId
  }
}

module existingModels 'modules/existing-model.bicep' = [
  for (id, i) in accountIds: {
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      accountName: split(id, '/')[8]
      deploymentName: i == 0 && !isList ? deployment : ''
      hasKey: i == 0 && usesKey
      identityPrincipalId: identity.outputs.principalId
      deployerPrincipalId: deployerPrincipalId
    }
  }
]

module vault 'modules/vault.bicep' = if (hasVault) {
  scope: group
  params: {
    place: place
    name: vaultName
    identityPrincipalId: identity.outputs.principalId
    webhookSecrets: webhookSecrets
    modelApiKey: usesKey ? modelApiKey : ''
    deploymentKeys: deploymentKeys
    deploymentKeySettings: keySettings
  }
}

var oneDeployment = {
  AZURE_OPENAI_ENDPOINT: isOwnModel ? model!.outputs.endpoint : existingModels[0]!.outputs.endpoint
  AZURE_OPENAI_DEPLOYMENT: deployment
  // Said, not guessed: a deployment's name may hold no model, or another one.
  IMAGE_MODEL: imageModel
  IMAGE_RPM: string(imageRpm)
}

// One that is empty is not made, so that the code's default holds.
var optional = {
  AZURE_OPENAI_API_VERSION: isList ? '' : modelApiVersion
  PACE: pace
  CALL_TIMEOUT_SECONDS: callTimeoutSeconds == null ? '' : string(callTimeoutSeconds)
  MAX_ATTEMPTS: maxAttempts == null ? '' : string(maxAttempts)
  PRICES: empty(prices) ? '' : string(prices)
  REFUSAL_SHARE: refusalShare
  BATCH_SHARES: empty(batchShares) ? '' : string(batchShares)
  CORS_ORIGINS: corsOrigins
  WEBHOOK_HOSTS: webhookHosts
  INPUT_HOSTS: inputHosts
}

// Each holds a reference, which the platform resolves with the identity of the app.
var secretSettings = [
  ...(empty(webhookSecrets) ? [] : ['WEBHOOK_SECRETS'])
  ...(usesKey ? ['AZURE_OPENAI_API_KEY'] : [])
  ...keySettings
]

module functions 'modules/functions.bicep' = {
  scope: group
  params: {
    place: place
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    blobEndpoint: storage.outputs.blobEndpoint
    queueEndpoint: storage.outputs.queueEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    packageContainer: storage.outputs.packageContainer
    insightsConnectionString: monitoring.outputs.connectionString
    subnetId: privateNetwork ? network!.outputs.functionsSubnetId : ''
    nodeVersion: nodeRuntime
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyWorkers: alwaysReadyWorkers
    isZoneRedundant: zoneRedundant
    settings: {
      ...(isList ? { IMAGE_DEPLOYMENTS: string(imageDeployments) } : oneDeployment)
      DARKROOM_API_KEYS: string(darkroomApiKeys)
      ...toObject(filter(items(optional), each => !empty(each.value)), each => each.key, each => each.value)
      ...toObject(
        secretSettings,
        setting => setting,
        setting => '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=${secretName(setting)})'
      )
    }
  }
  dependsOn: [endpoints, vault]
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  scope: group
  params: { place: place, insightsId: monitoring.outputs.insightsId, email: alertEmail }
}

module budget 'modules/budget.bicep' = if (monthlyBudget > 0) {
  scope: group
  params: { place: place, amount: monthlyBudget, email: alertEmail, start: budgetStart }
}

// azd puts these into its environment, for the hooks and for people, and takes them out again with `azd down`. So
// nothing that is asked for once may be among them, such as the region.
output AZURE_RESOURCE_GROUP string = group.name
output DARKROOM_ENDPOINT string = functions.outputs.endpoint
output DARKROOM_FUNCTION_APP string = functions.outputs.name
output DARKROOM_STORAGE_ACCOUNT string = storage.outputs.name
output DARKROOM_RATE_LIMITS array = isOwnModel
  ? model!.outputs.rateLimits
  : empty(accountIds) ? [] : existingModels[0]!.outputs.rateLimits
// Switched off, the budget is still there, with its start.
output BUDGET_START string = monthlyBudget > 0 ? budget!.outputs.start : budgetStart
