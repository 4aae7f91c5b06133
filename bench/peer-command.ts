import { once } from 'node:events'
import { AzureOpenAI } from 'openai'
import { runners } from './peer-runners.ts'
import { apiKey, apiVersion, deploymentName, parameters, promptOf } from './world.ts'

/** One peer, as its users write it: the `openai` client with its own retries, and a limiter around each call. */
const [name = '', endpoint = '', rpm = '', jobs = ''] = process.argv.slice(2)
const run = runners[name]
if (run === undefined)
  throw new Error(`got the runner ${name}, wanted one of ${Object.keys(runners).join(', ')}`)
const client = new AzureOpenAI({ endpoint, apiKey, apiVersion, deployment: deploymentName })

// The leash lets the process end when nothing else is under way; until the word comes nothing is.
process.channel?.ref()
console.log('peer: ready')
await once(process, 'message')
const tasks = Array.from({ length: Number(jobs) }, (_, index) => async () => {
  return client.images.generate({ prompt: promptOf(index), model: deploymentName, ...parameters })
})
await run(tasks, Number(rpm))
process.exit()
