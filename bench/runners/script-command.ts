import { once } from 'node:events'
import { noteFailure } from './outcomes.ts'
import { pictureCall } from './picture-call.ts'
import type { ScriptOptions } from './script.ts'
import { ways } from './script-ways.ts'

/** A script that gets pictures for a list of prompts, in the way of one peer. */
const options: ScriptOptions = JSON.parse(process.argv[2] ?? '{}')
const { name, endpoint, folder, rpm, jobs } = options
const way = ways[name]
if (way === undefined) throw new Error(`got the way ${name}, wanted one of ${Object.keys(ways).join(', ')}`)
const { maxRetries, run } = way
const picture = pictureCall({ endpoint, folder, ...(maxRetries === undefined ? {} : { maxRetries }) })
const lastFailures = new Map<number, unknown>()

// The leash lets the process end when nothing else is under way; until the word comes nothing is.
process.channel?.ref()
console.log('script: ready')
await once(process, 'message')
const calls = Array.from({ length: jobs }, (_, index) => async () => {
  try {
    await picture(index)
    lastFailures.delete(index)
  } catch (error) {
    lastFailures.set(index, error)
    throw error
  }
})
await run(calls, rpm)
await Promise.all([...lastFailures.keys()].map(async (index) => noteFailure(folder, index)))
process.exit()
