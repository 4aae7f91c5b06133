/** The names under which the deployments of IMAGE_DEPLOYMENTS want their keys. */
export function keySettings(env) {
  const list = read(env.IMAGE_DEPLOYMENTS)
  if (!Array.isArray(list)) return []
  const names = list.map((deployment) => deployment?.key_setting)
  return [...new Set(names.filter((name) => typeof name === 'string'))]
}

/** DEPLOYMENT_KEYS, by those names. */
export function readKeys(env) {
  const keys = read(env.DEPLOYMENT_KEYS)
  return typeof keys === 'object' && keys !== null ? keys : {}
}

/** The Bicep would refuse a name without a key in the midst of a deployment. */
export function missingKeys(env) {
  const keys = readKeys(env)
  return keySettings(env)
    .filter((name) => !Object.hasOwn(keys, name) || typeof keys[name] !== 'string' || keys[name] === '')
    .map(
      (name) =>
        `  DEPLOYMENT_KEYS: found no key for ${name}; wanted JSON such as {"${name}":"…"}: IMAGE_DEPLOYMENTS has it as a key_setting`,
    )
}

function read(text) {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
