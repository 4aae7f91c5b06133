import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootDir } from '../architecture/sources.ts'

/** The names of the events that alerts wait for. The service must be able to log each of them. */
export function alertEvents(): readonly string[] {
  const text = readFileSync(join(rootDir, 'infra/modules/alerts.bicep'), 'utf8')
  return [...text.matchAll(/^\s+event: '(\w+)'$/gm)].map(([, event]) => event!)
}
