import { Place } from 'place.bicep'

param place Place
param insightsId string
@description('Who is told.')
param email string

resource receivers 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-darkroom-${place.token}'
  location: 'global'
  tags: place.tags
  properties: {
    enabled: true
    groupShortName: 'darkroom'
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

// Alerts know the service's log by its events, never by its words. A test reads the names from this file.
var eventRules = [
  {
    name: 'deployment-stopped'
    description: 'A deployment of the model refuses key or address, or does not answer: only probes start there. GET /v1/budget has its words.'
    severity: 1
    event: 'deployment_stopped'
    rest: []
  }
  {
    name: 'nothing-moves'
    description: 'Jobs wait, no deployment of their pool is stopped or paused, and none has started for ten minutes.'
    severity: 1
    event: 'pool'
    // One line a minute and pool. A field that says nothing may be null, false, 0 or an empty list.
    rest: [
      'extend isStopped = tostring(e.stopped) !in (\'\', \'null\', \'false\', \'0\', \'[]\')'
      'extend isPaused = tostring(e.paused) !in (\'\', \'null\', \'false\', \'0\', \'[]\')'
      'extend isStuck = toint(e.waiting) > 0 and todouble(e.startsLastMinute) == 0 and not(isStopped or isPaused)'
      'summarize lines = count(), stuck = countif(isStuck) by pool = tostring(e.pool)'
      'where stuck >= 10 and stuck == lines'
    ]
  }
  {
    name: 'refusals'
    description: 'A batch is paused, because too many of its jobs are refused: Azure may block the account for it.'
    severity: 2
    event: 'refusals'
    rest: []
  }
  {
    name: 'rows-unreadable'
    description: 'There are rows in the tables that this version cannot read. Their jobs are left alone.'
    severity: 2
    event: 'rows_unreadable'
    rest: []
  }
  {
    name: 'message-poisoned'
    description: 'A message was tried ten times in vain, and is on a poison queue.'
    severity: 2
    event: 'message_poisoned'
    rest: []
  }
  {
    name: 'jobs-rejected'
    description: 'Messages came that are no valid jobs. Each is a failed job of its batch, which says why.'
    severity: 3
    event: 'job_rejected'
    rest: []
  }
]

var eventQueries = [
  for rule in eventRules: {
    name: rule.name
    description: rule.description
    severity: rule.severity
    operator: 'GreaterThan'
    threshold: 0
    query: join(
      [
        'traces'
        'where message startswith \'{\''
        'extend e = parse_json(message)'
        'where tostring(e.event) == \'${rule.event}\''
        ...rule.rest
      ],
      '\n| '
    )
  }
]

// The timer `rescue` runs each minute whatever else happens. Azure itself writes down its runs.
var silent = {
  name: 'silent'
  description: 'The timer that runs each minute ran less than five times in a quarter of an hour: nothing works.'
  severity: 1
  operator: 'LessThan'
  threshold: 5
  query: 'requests\n| where name == \'rescue\' and success == true'
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in [...eventQueries, silent]: {
    name: 'alert-${rule.name}-${place.token}'
    location: place.location
    tags: place.tags
    kind: 'LogAlert'
    properties: {
      displayName: 'Darkroom: ${rule.name}'
      description: rule.description
      enabled: true
      severity: rule.severity
      scopes: [insightsId]
      // Rules that are looked at more often cost more.
      evaluationFrequency: rule.severity == 1 ? 'PT5M' : 'PT15M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: rule.operator
            threshold: rule.threshold
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [receivers.id] }
    }
  }
]
