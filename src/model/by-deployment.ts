import type { ImageModel } from '../ports/model.ts'

/**
 * One model over several deployments: a call goes to the one that it names. Each adapter is made at its first call,
 * so that a cold start pays for none that it does not use. Throws for a name that the settings do not have: whoever
 * gives slots knows them all.
 */
export function modelByDeployment(makers: ReadonlyMap<string, () => ImageModel>): ImageModel {
  const made = new Map<string, ImageModel>()
  return {
    async generate(call) {
      const { deployment } = call
      const model = made.get(deployment) ?? makers.get(deployment)?.()
      if (model === undefined) throw new Error(`a call for deployment ${deployment}, which is not configured`)
      made.set(deployment, model)
      return model.generate(call)
    },
  }
}
