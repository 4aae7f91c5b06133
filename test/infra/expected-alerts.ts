import { alertRules } from './alert-events.ts'
import { all, at, type Resource, type Wanted } from './found.ts'

/** States are resolved by themselves; an event is told once, and again after a while. Azure refuses both in one rule. */
export function alerts(resources: readonly Resource[], wanted: Wanted): void {
  const rules = all(resources, 'Microsoft.Insights/scheduledQueryRules')
  if (rules.length === 0) return
  const found = rules.map(({ name, properties }) => ({
    name: name.replace(/^alert-|-\w{13}$/g, ''),
    windowSize: properties['windowSize'],
    autoMitigate: properties['autoMitigate'],
    mute: properties['muteActionsDuration'] ?? '',
  }))
  const [window, state] = ['PT30M', { windowSize: 'PT30M', autoMitigate: true, mute: '' }]
  wanted(
    'alerts',
    found.toSorted((a, b) => a.name.localeCompare(b.name)),
    [
      { name: 'deployment-stopped', windowSize: window, autoMitigate: false, mute: 'PT2H' },
      { name: 'jobs-rejected', windowSize: window, autoMitigate: false, mute: window },
      { name: 'message-poisoned', windowSize: window, autoMitigate: false, mute: window },
      { name: 'nothing-moves', ...state },
      { name: 'refusals', windowSize: window, autoMitigate: false, mute: window },
      { name: 'rows-unreadable', windowSize: window, autoMitigate: false, mute: 'PT2H' },
      { name: 'silent', ...state },
    ],
  )
  const queries = rules.map((rule) => at(rule, 'properties', 'criteria', 'allOf', '0', 'query'))
  for (const { name, query } of alertRules()) {
    // That test runs them; here is what they are made to be.
    wanted(`the query of ${name}`, queries.includes(query), true)
  }
}
