import { Place } from 'place.bicep'
import { roles } from 'roles.bicep'

param place Place
param identityPrincipalId string
@description('The person who deploys; empty: nobody.')
param deployerPrincipalId string
@description('Reached by private endpoints only.')
param isPrivate bool
param isZoneRedundant bool
@description('Days until images are moved to the cool tier; 0: never.')
param coolDays int
@description('Days until images are deleted; 0: never.')
param retentionDays int

// What the code makes at its first call is made here as well: a client can send before that, and no listener asks in vain.
var containers = ['images', 'files', 'inputs']
var queues = ['image-jobs', 'image-work', 'pacer', 'batch-work', 'webhooks']
var tables = ['jobs', 'budget', 'files', 'batches']
var packages = 'app-package'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'st${place.token}'
  location: place.location
  tags: place.tags
  kind: 'StorageV2'
  sku: { name: isZoneRedundant ? 'Standard_ZRS' : 'Standard_LRS' }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: { bypass: 'AzureServices', defaultAction: isPrivate ? 'Deny' : 'Allow' }
  }
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  // Images were paid for: what is deleted by mistake can be brought back for a week.
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }

  resource container 'containers' = [
    for name in concat(containers, [packages]): {
      name: name
      properties: { publicAccess: 'None' }
    }
  ]
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'

  resource queue 'queues' = [for name in concat(queues, map(queues, queue => '${queue}-poison')): { name: name }]
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'

  resource table 'tables' = [for name in tables: { name: name }]
}

var images = { blobTypes: ['blockBlob'], prefixMatch: ['images/'] }

// Both rules are always there, switched on or off: what a deployment leaves out Azure leaves as it was, and a rule that
// nobody wants any more would go on deleting.
var cooling = {
  name: 'images-cool'
  enabled: coolDays > 0
  type: 'Lifecycle'
  definition: {
    filters: images
    actions: { baseBlob: { tierToCool: { daysAfterModificationGreaterThan: max(coolDays, 1) } } }
  }
}

var deleting = {
  name: 'images-delete'
  enabled: retentionDays > 0
  type: 'Lifecycle'
  definition: {
    filters: images
    actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: max(retentionDays, 1) } } }
  }
}

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: { policy: { rules: [cooling, deleting] } }
  dependsOn: [blobService]
}

// Blobs: the host's locks, the package, and keys for links. Queues: sending with a delay, and poison queues.
var dataRoles = [
  roles.storageBlobDataOwner
  roles.storageQueueDataContributor
  roles.storageTableDataContributor
]

resource identityRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in dataRoles: {
    name: guid(account.id, identityPrincipalId, role)
    scope: account
    properties: {
      principalId: identityPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

// Without a type: whoever deploys may be a person, or the identity of a pipeline.
resource deployerRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in dataRoles: if (!empty(deployerPrincipalId)) {
    name: guid(account.id, deployerPrincipalId, role)
    scope: account
    properties: {
      principalId: deployerPrincipalId
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

output id string = account.id
output name string = account.name
output blobEndpoint string = account.properties.primaryEndpoints.blob
output queueEndpoint string = account.properties.primaryEndpoints.queue
output tableEndpoint string = account.properties.primaryEndpoints.table
output packageContainer string = packages
