import type { TestProject } from 'vitest/node'
import { startAzurite } from '../../src/local/azurite/azurite.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Connection string of the one Azurite that the whole test run shares; read it with `inject('azurite')`. */
    azurite: string
  }
}

/** Starts one Azurite in memory for the whole test run. Each test names queues, tables and containers of its own. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const azurite = await startAzurite({})
  project.provide('azurite', azurite.connectionString)
  return () => azurite.stop()
}
