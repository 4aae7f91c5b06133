import { setTimeout as wait } from 'node:timers/promises'
import { HookError, npmCommand, runHook, say } from './hook.js'
import { duration, rpmInForce } from './limits.js'

/** For one answer: a cold start, with its package being fetched. */
const answerMsMax = 60_000
const betweenMsMax = 5_000
const shownCharsMax = 2_000

/** The service is there when it answers; who deployed it wants to know where, and what to try first. */
await runHook(async (env) => {
  const endpoint = env.DARKROOM_ENDPOINT ?? ''
  if (endpoint === '')
    throw new HookError('There is no DARKROOM_ENDPOINT in the environment of azd. Run azd provision first.')
  const seconds = Number(env.DARKROOM_WAIT_SECONDS) || 300
  say(`Waiting for ${endpoint}/healthz …`)
  const health = await firstHealth(endpoint, 1_000 * seconds)
  if ('lastAnswer' in health) {
    throw new HookError(
      `The package is deployed, but ${endpoint}/healthz gave no 200 within ${seconds} s. Its last answer:\n\n  ${health.lastAnswer}\n\n` +
        'Roles that were just given may need some minutes more: azd deploy tries again. The trouble section of docs/deploy.md has the rest.',
    )
  }
  const rpm = rpmInForce(env)
  say(`
Darkroom answers at ${endpoint}${troubles(health.body)}

The first picture, with your key in the place of KEY, and where it is:

${firstCalls(endpoint).join('\n')}

A key is shown once, when it is made; ${npmCommand} run key -- NAME --azd, and then azd provision, make another.
The limit in force is ${rpm} requests a minute: 1,000 images take ${duration(1_000, rpm, env)}.
`)
})

/** In PowerShell curl is another command, and before 7.3 quotes inside of an argument are lost. */
function firstCalls(endpoint) {
  const body = '{"prompt":"A red fox in an autumn forest","batch":"animals","custom_id":"fox"}'
  const quoted = JSON.stringify(body)
  const curls = [
    `-s ${endpoint}/v1/jobs -H "authorization: Bearer KEY" -H "content-type: application/json" -d ${quoted}`,
    `-s ${endpoint}/v1/jobs/animals.fox -H "authorization: Bearer KEY"`,
  ]
  if (process.platform !== 'win32') return curls.map((curl) => `  curl ${curl}`)
  const headers = '-Headers @{ authorization = "Bearer KEY" }'
  return [
    'In PowerShell:',
    '',
    `  Invoke-RestMethod ${endpoint}/v1/jobs -Method Post ${headers} -ContentType "application/json" -Body '${body}'`,
    `  Invoke-RestMethod ${endpoint}/v1/jobs/animals.fox ${headers}`,
    '',
    'In cmd:',
    '',
    ...curls.map((curl) => `  curl.exe ${curl}`),
  ]
}

/** The service's first answer of 200; at the deadline, what came instead. */
async function firstHealth(endpoint, waitMs) {
  const deadline = Date.now() + waitMs
  const betweenMs = Math.min(betweenMsMax, waitMs / 20)
  let lastAnswer = 'none'
  while (Date.now() < deadline) {
    try {
      const timeoutMs = Math.min(answerMsMax, Math.max(1, deadline - Date.now()))
      const response = await fetch(`${endpoint}/healthz`, { signal: AbortSignal.timeout(timeoutMs) })
      const body = (await response.text()).slice(0, shownCharsMax)
      // A page of the platform's may come with 200 as well.
      if (response.status === 200 && body.includes('"status":')) return { body }
      lastAnswer = `${response.status} ${body}`
    } catch (error) {
      // No connection, or none of its time: fetch hides the reason in the cause.
      lastAnswer = String(error.cause?.message ?? error.message)
    }
    await wait(Math.max(0, Math.min(betweenMs, deadline - Date.now())))
  }
  return { lastAnswer }
}

/** A deployment of the model that is stopped is no fault of this one, but worth a word. */
function troubles(body) {
  const [, stopped] = /"stopped":\[(.+?)\]/.exec(body) ?? []
  return stopped === undefined
    ? '.'
    : `, but a deployment of the model is stopped: ${stopped}. Roles may need some minutes.`
}
