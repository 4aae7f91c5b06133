import { runHook, say } from './hook.js'
import { allowedRpm, capacityFor, rpmInForce } from './limits.js'

/** The units of quota that a deployment gets are no requests a minute: Azure tells those when it is there. */
await runHook(async (env) => {
  if ((env.IMAGE_DEPLOYMENTS ?? '') !== '') return
  const allowed = allowedRpm(env)
  const rpm = rpmInForce(env)
  if (allowed === undefined) {
    say(
      `Azure does not tell how many requests a minute the deployment allows. IMAGE_RPM is ${rpm}: compare it with the portal.`,
    )
  } else if (allowed === rpm) {
    say(`The deployment allows ${allowed} requests a minute, and IMAGE_RPM says so.`)
  } else {
    const capacity = rpm > allowed ? capacityFor(allowed, env) : undefined
    const more =
      capacity === undefined
        ? ''
        : `  azd env set IMAGE_CAPACITY ${capacity}\n  azd provision\n\nasks Azure for as much, where the region's quota has that many units. Or keep to what there is:\n\n`
    const follows =
      rpm > allowed
        ? 'Until that is changed, calls are refused with 429 until the service has learned the limit.'
        : 'Until that is changed, the rest of them goes unused.'
    say(
      `The deployment allows ${allowed} requests a minute, and IMAGE_RPM is ${rpm}. ${follows}\n\n${more}` +
        `  azd env set IMAGE_RPM ${Math.max(1, Math.floor(allowed))}\n  azd provision\n`,
    )
  }
})
