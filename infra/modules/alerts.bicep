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

// What is looked at is what came in the last half hour: lines may come minutes late, and a shorter look would miss some.
var window = 'PT30M'

// Alerts know the service's log by its events, never by its words. A test reads names and queries from this file.
// `by`: facts of the event. Each value of them is an alert of its own, with a mute of its own: of two batches that are
// paused one after the other both are told of.
// `mute`: whoever was told is not told again for so long. Empty: it is a state, and is resolved by itself when it ends. An
// event that comes once is in view for half an hour; one that comes again and again while its cause lasts is told of less
// often.
var eventRules = [
  {
    name: 'deployment-stopped'
    description: 'A deployment of the model refuses key or address, or does not answer: only probes start there. GET /v1/budget has its words.'
    severity: 1
    events: ['pool']
    // A state: the event `deployment_stopped` may come once for a night without an answer. That one more is stopped is
    // another value, and told of. A pool without work has no line, and needs nobody.
    by: ['pool', 'stopped']
    mute: ''
    rest: ['where timestamp > ago(15m) and toint(e.stopped) > 0']
  }
  {
    name: 'nothing-moves'
    description: 'Jobs wait for ten minutes, a deployment of their pool is neither stopped nor paused, and no call was made for 15 minutes.'
    severity: 1
    events: ['pool', 'run']
    by: ['pool']
    // A pool that has work has a line a minute. Slots are given whether or not a worker lives; a run that made a call says
    // how long it took, and one under way is counted as running. The newest lines may not have come yet.
    mute: ''
    rest: [
      'where timestamp > ago(15m)'
      'extend isPool = tostring(e.event) == \'pool\''
      'extend isCall = tostring(e.event) == \'run\' and isnotnull(e.callMs)'
      'extend isStuck = isPool and toint(e.open) > 0 and toint(e.waiting) > 0 and toint(e.running) == 0'
      'summarize lines = countif(isPool), stuck = countif(isStuck), calls = countif(isCall) by pool'
      'where stuck >= 10 and stuck == lines and calls == 0'
    ]
  }
  {
    name: 'refusals'
    description: 'A batch is paused, because too many of its jobs are refused: Azure may block the account for it.'
    severity: 2
    events: ['refusals']
    by: ['batch']
    mute: window
    rest: []
  }
  {
    name: 'rows-unreadable'
    description: 'There are rows in the tables that this version cannot read. Their jobs are left alone.'
    severity: 2
    events: ['rows_unreadable']
    by: ['code']
    mute: 'PT2H'
    rest: []
  }
  {
    name: 'message-poisoned'
    description: 'A message was tried ten times in vain, and is on a poison queue.'
    severity: 2
    events: ['message_poisoned']
    by: ['queue']
    mute: window
    rest: []
  }
  {
    name: 'jobs-rejected'
    description: 'Messages came that are no valid jobs. Each is a failed job of its batch, which says why.'
    severity: 3
    events: ['job_rejected']
    by: ['batch']
    mute: window
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
    by: rule.by
    mute: rule.mute
    query: join(
      [
        'traces'
        'where message startswith \'{\''
        'extend e = parse_json(message)'
        'where tostring(e.event) in (${join(map(rule.events, event => '\'${event}\''), ', ')})'
        ...map(rule.by, fact => 'extend ${fact} = tostring(e.${fact})')
        ...rule.rest
      ],
      '\n| '
    )
  }
]

// The timer `rescue` runs each minute whatever else happens. Azure itself writes down its runs.
var silent = {
  name: 'silent'
  description: 'The timer that runs each minute ran less than ten times in half an hour: nothing works.'
  severity: 1
  operator: 'LessThan'
  threshold: 10
  by: []
  mute: ''
  query: 'requests\n| where name == \'rescue\' and tostring(success) =~ \'true\''
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
      windowSize: window
      // A state lasts and ends, and is told of twice. An event is over at once: that none came since resolves nothing.
      // Azure refuses a rule that has both.
      autoMitigate: empty(rule.mute)
      ...(empty(rule.mute) ? {} : { muteActionsDuration: rule.mute })
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: rule.operator
            threshold: rule.threshold
            dimensions: map(rule.by, fact => { name: fact, operator: 'Include', values: ['*'] })
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [receivers.id] }
    }
  }
]
