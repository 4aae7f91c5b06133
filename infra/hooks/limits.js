import { readParameters } from './parameters.js'

/**
 * The requests a minute that Azure says the deployment allows; undefined where it does not say so. It tells them as a count
 * for a number of seconds: 1 for 10 s are 6 a minute.
 */
export function allowedRpm(env) {
  const limits = readJson(env.DARKROOM_RATE_LIMITS)
  if (!Array.isArray(limits)) return undefined
  const { count, renewalPeriod } = limits.find((limit) => limit?.key === 'request') ?? {}
  return count > 0 && renewalPeriod > 0 ? Math.round((6_000 * count) / renewalPeriod) / 100 : undefined
}

/**
 * The units of quota under which a deployment of ours would allow as much as IMAGE_RPM says. Undefined: it is not ours, or they
 * are more than IMAGE_CAPACITY may say.
 */
export function capacityFor(allowed, env) {
  if ((env.MODEL_ACCOUNT_IDS ?? '') !== '') return undefined
  const { default: usual, max } = parameterNamed('imageCapacity')
  const capacity = Number(env.IMAGE_CAPACITY || usual)
  const wanted = Math.ceil((rpmInForce(env) * capacity) / allowed)
  return wanted <= max ? wanted : undefined
}

/** What the service paces its calls by, in requests a minute: one deployment's, or the sum over a list of them. */
export function rpmInForce(env) {
  const list = readJson(env.IMAGE_DEPLOYMENTS)
  if (!Array.isArray(list) || list.length === 0)
    return Number(env.IMAGE_RPM || parameterNamed('imageRpm').default)
  const quotas = new Map(
    list.map(({ name, quota_group: group, rpm }) => [group ?? `${name} alone`, Number(rpm)]),
  )
  return [...quotas.values()].reduce((sum, rpm) => sum + rpm, 0)
}

/** How long that many images take at that pace, of which the service uses a share. */
export function duration(images, rpm, env) {
  const minutes = Math.ceil(images / (rpm * Number(env.PACE || usualPace)))
  const hours = Math.floor(minutes / 60)
  return hours === 0 ? `${minutes} min` : `${hours} h ${minutes % 60} min`
}

/** The code's own default. */
const usualPace = 0.98

function parameterNamed(name) {
  return readParameters().find((parameter) => parameter.name === name)
}

/** azd keeps lists as JSON. Undefined: there is none. */
function readJson(text) {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
