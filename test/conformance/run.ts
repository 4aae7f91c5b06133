import { join } from 'node:path'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import OpenAI from 'openai'
import { newKey } from '../../src/local/api-key.ts'
import { untilStopped } from '../../src/local/instance.ts'
import { run as runRoom } from '../e2e/running.ts'
import { recorder, type Recorder } from './recorder.ts'
import { checkOfFaults } from './planted.ts'
import type { Place } from './script/place.ts'
import { script, type Outcome } from './script/script.ts'
import { readSpecs, type Specs } from './specs.ts'
import { refusedByStub } from './stub/images.ts'
import { startStub, stubKey } from './stub/stub.ts'

const help = `npm run conformance [-- OPTIONS]

One script, which uses the official openai package and nothing but what OpenAI documents, runs twice: against a stub that
answers as OpenAI does, and against Darkroom with a simulated deployment. Both must come to the same. Every answer is held
against the schemas of OpenAI's specification, and so is every request. It runs on this machine and costs nothing.

  --specs=FOLDER   where the specification lies (../shared/specs beside the project)
  --help           this text

Ends with 1 when something is not as OpenAI has it.
`

const model = 'gpt-image-1'

function say(line: string): void {
  console.log(`conformance: ${line}`)
}

async function againstStub(specs: Specs): Promise<Outcome> {
  await using stub = await startStub(specs)
  const seen = recorder(specs, { isStub: true })
  const client = new OpenAI({ baseURL: stub.baseUrl, apiKey: stubKey, maxRetries: 0, fetch: seen.fetch })
  const place = { client, model, refusedPrompt: refusedByStub, exhaust: stub.exhaust }
  return await watched('stub', seen, place)
}

async function againstDarkroom(specs: Specs): Promise<Outcome> {
  const { key, sha256 } = newKey()
  const settings = { DARKROOM_API_KEYS: JSON.stringify({ customer: sha256 }) }
  const starting = runRoom({ rpm: 600, settings })
  void untilStopped().then(async () => {
    await (await starting).stop()
    process.exit(130)
  })
  const room = await starting
  try {
    const seen = recorder(specs)
    const baseURL = `${room.instances[0]!.url}/v1`
    const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 0, fetch: seen.fetch })
    const refusedPrompt = 'Something that is refused [fault:moderation_blocked]'
    // The deployment has no room for an hour.
    const exhaust = (): void => room.deployment.set({ capacity: 0, capacityRetryAfterSeconds: 3_600 })
    return await watched('darkroom', seen, { client, model, refusedPrompt, exhaust })
  } finally {
    await room.stop()
  }
}

/** Runs the script, and throws when any answer or request was not as the specification has it. */
async function watched(name: string, seen: Recorder, place: Omit<Place, 'say'>): Promise<Outcome> {
  let outcome: Outcome | undefined
  let broken: unknown
  try {
    outcome = await script({ ...place, say: (step) => say(`${name}: ${step}`) })
  } catch (error) {
    broken = error
  }
  // Also when it broke off: a wrong answer may be why.
  const faults = seen.faults()
  for (const { where, what } of faults) say(`${name}: FAULT: ${where}: ${what}`)
  if (outcome === undefined) throw broken
  const left = seen.operationsNotAsked()
  if (left.length > 0) throw new Error(`${name}: the script never had a good answer of ${left.join(', ')}`)
  if (faults.length > 0) throw new Error(`${name}: ${faults.length} faults`)
  const counts = [...seen.counts()].map(([what, count]) => `  ${String(count).padStart(4)} ${what}`)
  say(`${name}: checked\n${counts.join('\n')}`)
  return outcome
}

async function conformance(folder: string): Promise<void> {
  const specs = await readSpecs(folder)
  say(`${checkOfFaults(specs)} planted faults are found`)
  const stub = await againstStub(specs)
  const darkroom = await againstDarkroom(specs)
  for (const [step, seen] of Object.entries(stub)) {
    if (isDeepStrictEqual(darkroom[step], seen)) continue
    say(`${step}\n  stub:     ${JSON.stringify(seen)}\n  darkroom: ${JSON.stringify(darkroom[step])}`)
    throw new Error('the script came to something else than against the stub')
  }
  say('passed: the script came to the same against both')
}

try {
  const usual = join(import.meta.dirname, '../../../shared/specs')
  const { values } = parseArgs({
    options: { specs: { type: 'string', default: usual }, help: { type: 'boolean', default: false } },
  })
  if (values.help) process.stdout.write(help)
  else await conformance(values.specs)
} catch (error) {
  console.error(`conformance: FAILED: ${error instanceof Error ? error.message : String(error)}`)
  if (error instanceof Error && error.cause !== undefined) console.error(error.cause)
  process.exitCode = 1
}
